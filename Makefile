# One command each. Every one of them sets up a fresh Debian machine by itself; all share one build.
.PHONY: help demo test check

help:
	@echo 'make demo    two peers on this machine sync a real source tree; every step is checked'
	@echo '             make demo TREE=DIR takes a copy of DIR instead'
	@echo 'make test    build, then run every test'
	@echo 'make check   formatting, clippy, documentation, tidy, dependencies; warnings are errors'

demo:
	@.ci/demo $(if $(TREE),"$(TREE)")

test:
	@.ci/test

check:
	@.ci/check
