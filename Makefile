# One command each. Every one of them sets up a fresh Debian machine by itself; all share one build.
.PHONY: help demo test check sim fuzz

help:
	@echo 'make demo    two peers on this machine sync a real source tree; every step is checked'
	@echo '             make demo TREE=DIR takes a copy of DIR instead'
	@echo 'make test    build, then run every test'
	@echo 'make sim N=… plays so many simulated schedules; SEED=… plays that one and says all that happens'
	@echo 'make fuzz TARGET=… N=…'
	@echo '             damages what peers send, so many times; without TARGET for every decoder, and for the session'
	@echo 'make check   formatting, clippy, documentation, tidy, dependencies; warnings are errors'

demo:
	@.ci/demo $(if $(TREE),"$(TREE)")

test:
	@.ci/test

sim:
	@PFS_SIM_SEED='$(SEED)' PFS_SIM_SCRIPT='$(SCRIPT)' PFS_SIM_COUNT='$(N)' PFS_SIM_FIRST='$(FIRST)' .ci/sim

fuzz:
	@PFS_FUZZ_TARGET='$(TARGET)' PFS_FUZZ_COUNT='$(N)' .ci/fuzz

check:
	@.ci/check
