.PHONY: check test
check:
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	pytest -n 2 -q -m "not slow"

test:
	pytest -n 2
