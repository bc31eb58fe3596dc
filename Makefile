.PHONY: check test
check:
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	pytest -n 3 -q -m "not slow"
	pytest -q --doctest-modules edgekd

test:
	pytest -n 3
