# unleash_tokens: plain PGXS.   make && make install && make installcheck
# The version is written in the control file only.

EXTENSION = unleash_tokens
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(EXTENSION).control)

MODULE_big = unleash_tokens
OBJS = unleash_tokens.o unleash_tokens_guard.o $(patsubst %.c,%.o,$(sort $(wildcard src/*/*.c)))
DATA = $(wildcard $(EXTENSION)--*.sql)

REGRESS = install create batch lifetime refusals validate lookup change import rest scope registry limit encoding \
	events privileges catalog plans guard property
ISOLATION = limit-race project-removed project-renamed project-truncated \
	environment-removed environment-renamed environment-truncated \
	last-two-projects event-scope validate-now locked-then-deleted rewritten
ISOLATION_OPTS = --load-extension=unleash_tokens
TAP_TESTS = 1
EXTRA_CLEAN = output_iso tmp_check tmp_check_iso results regression.diffs regression.out

PG_CPPFLAGS = -I$(srcdir)/src -I$(libpq_srcdir) -DUT_VERSION='"$(EXTVERSION)"'

SHLIB_LINK_INTERNAL = $(libpq)

PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Headers are few and small: any of them rebuilds everything.
$(OBJS): $(wildcard src/*/*.h) $(EXTENSION).control
