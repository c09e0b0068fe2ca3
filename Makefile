# unleash_tokens: plain PGXS.   make && make install && make installcheck
# The version is written in the control file only.

EXTENSION = unleash_tokens
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(EXTENSION).control)

MODULE_big = unleash_tokens
OBJS = unleash_tokens.o unleash_tokens_guard.o $(patsubst %.c,%.o,$(sort $(wildcard src/*/*.c)))
DATA = $(wildcard $(EXTENSION)--*.sql)

REGRESS = install create direct batch batch_most lifetime rate_limit expiring rotation refusals validate lookup change import rest lane delegate scope registry projects limit encoding \
	events privileges catalog plans guard guard_check property
ISOLATION = limit-race rotation-race delegate-locked project-changes environment-changes last-two-projects event-scope validate-now locked-then-deleted rewritten
ISOLATION_OPTS = --load-extension=unleash_tokens
TAP_TESTS = 1
EXTRA_CLEAN = output_iso tmp_check tmp_check_iso results regression.diffs regression.out

PG_CPPFLAGS = -I$(srcdir)/src -I$(libpq_srcdir) -DUT_VERSION='"$(EXTVERSION)"'

SHLIB_LINK_INTERNAL = $(libpq)

PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# installcheck begins with what the servers of t/*.pl need, not after minutes of other tests; without them: TAP_TESTS=
ifdef TAP_TESTS
installcheck: tap-tools
PROVE_FLAGS = --timer
endif
.PHONY: tap-tools
tap-tools:
	@perl -MIPC::Run -MTest::More -e 1 2>/dev/null || { \
		echo 'installcheck needs the Perl module IPC::Run (on Debian libipc-run-perl); without it: $(MAKE) installcheck TAP_TESTS=' >&2; exit 1; }
	@echo 'regress, isolation, then $(words $(or $(PROVE_TESTS),$(wildcard t/*.pl))) files that start servers: a line when one ends, some minutes in all (TAP_TESTS= leaves them out)'

# Headers are few and small: any of them rebuilds everything.
$(OBJS): $(wildcard src/*/*.h) $(EXTENSION).control

# The zip for PGXN, of the last commit: make dist [DISTDIR=where]
DISTVERSION = $(shell sed -n 's/^\t"version": "\(.*\)",$$/\1/p' META.json)
DISTDIR = .
.PHONY: dist
dist:
	git archive --format=zip --prefix=$(EXTENSION)-$(DISTVERSION)/ --output=$(DISTDIR)/$(EXTENSION)-$(DISTVERSION).zip HEAD
