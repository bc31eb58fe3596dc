.PHONY: check test
check:
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	pytest -q -m "not slow" --durations=0
	pytest -q --doctest-modules edgekd

test:
	pytest
