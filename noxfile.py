"""Shortcuts for developers: `nox -s tests`, `nox -s lint`, `nox -s cpp`. What has to hold is what .ci/run runs."""

import nox

nox.options.sessions = ["lint", "tests"]


@nox.session
def tests(session: nox.Session) -> None:
    """The Python suite against a fresh build."""
    session.install("-c", "constraints.txt", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy, the gates over the tree."""
    session.install("-c", "constraints.txt", ".[test,lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    for gate in ("layering", "python_layers", "mirrors"):
        session.run("python", f"tests/gates/{gate}.py")


@nox.session
def cpp(session: nox.Session) -> None:
    """The C++ tests under AddressSanitizer and UBSan."""
    session.install("cmake", "ninja")
    session.run("cmake", "--preset", "asan", "-G", "Ninja")
    session.run("cmake", "--build", "--preset", "asan")
    session.run("ctest", "--preset", "asan")
