/*-------------------------------------------------------------------------
 *
 * authd.c
 *	  When does what run?
 *
 * One loop around epoll: clients through libmicrohttpd, connections to
 * PostgreSQL, signals.  Nothing in it waits.
 *
 * Knows no HTTP and no SQL.  Locking: none, there is one thread.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "http.h"
#include "link.h"
#include "listen.h"
#include "log.h"
#include "notify.h"
#include "queue.h"
#include "settings.h"

/* Seconds that a stop waits for what is under way. */
#define STOP_TIME 10

/* Milliseconds that it leaves clients that ask no more. */
#define STOP_MOMENT 300

#define EVENTS 64

static const char usage[] =
"usage: unleash-tokens-authd [--config FILE] [--check]\n"
"\n"
"Answers /auth, POST /edge/validate and /health from the extension unleash_tokens, many requests in one call.\n"
"\n"
"  --config FILE  settings, lines \"name = value\"; see doc/reference.md\n"
"  --check        read them, say whether they are right, and end\n"
"  --help         this text\n"
"\n"
"SIGHUP reads the file again, SIGTERM answers what is under way and ends.\n";

static const char *config_path;
static AdSettings settings;
static bool stopping;
static int64_t stop_until;

static int
complain(char *problem)
{
	ad_log("%s", problem == NULL ? "no memory" : problem);
	free(problem);
	return 1;
}

/* ---- Signals ---- */

static int
open_signals(void)
{
	sigset_t	signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Where it listens and how large its parts are stay as they were. */
static void
reload(void)
{
	AdSettings	wanted;
	char	   *problem;

	ad_notify("RELOADING=1\nMONOTONIC_USEC=%lld", (long long) ad_clock_now() * 1000);
	if (!ad_settings_read(config_path, &wanted, &problem))
	{
		ad_log("the settings stay as they were");
		(void) complain(problem);
		ad_settings_free(&wanted);
	}
	else
	{
		ad_settings_take(&settings, &wanted);
		ad_queue_reload();
		ad_log("read the settings");
	}
	ad_notify("READY=1");
}

static void
read_signals(int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info))
	{
		if (info.ssi_signo == SIGHUP)
			reload();
		else if (!stopping)
		{
			stopping = true;
			stop_until = ad_clock_now() + STOP_TIME * 1000;
			ad_notify("STOPPING=1");
			ad_http_quiesce();
		}
	}
}

/* ---- The loop ---- */

static int
next_timeout(void)
{
	int			http = ad_http_timeout();
	int			queue = ad_queue_timeout();
	int			first = http < 0 || (queue >= 0 && queue < http) ? queue : http;

	return stopping && (first < 0 || first > 100) ? 100 : first;
}

/* A client that asks no more gets a moment to take its answer. */
static bool
is_over(void)
{
	int64_t		now = ad_clock_now();

	return stopping && (now >= stop_until || (ad_queue_waiting() == 0 &&
											  (ad_http_connections() == 0 || now >= stop_until - STOP_TIME * 1000 + STOP_MOMENT)));
}

static void
watch(int epoll, int fd, void *mark)
{
	struct epoll_event event = {.events = EPOLLIN,.data.ptr = mark};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		abort();
}

static void
run(int epoll, int signals)
{
	static char http_mark,
				signal_mark;
	struct epoll_event events[EVENTS];

	watch(epoll, ad_http_fd(), &http_mark);
	watch(epoll, signals, &signal_mark);
	while (!is_over())
	{
		int			count = epoll_wait(epoll, events, EVENTS, next_timeout());

		for (int i = 0; i < count; i++)
		{
			if (events[i].data.ptr == &signal_mark)
				read_signals(signals);
			else if (events[i].data.ptr != &http_mark)
				ad_queue_event(events[i].data.ptr);
		}
		/* answers go out, then requests come in, and are asked for at once */
		ad_http_run();
		ad_queue_run();
	}
}

static void
read_arguments(int argc, char **argv, bool *check)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},
		{0}
	};
	int			option;

	while ((option = getopt_long(argc, argv, "c:kh", options, NULL)) != -1)
	{
		switch (option)
		{
			case 'c':
				config_path = optarg;
				break;
			case 'k':
				*check = true;
				break;
			case 'h':
				fputs(usage, stdout);
				exit(0);
			default:
				fputs(usage, stderr);
				exit(2);
		}
	}
	if (optind < argc)
	{
		fputs(usage, stderr);
		exit(2);
	}
}

/*
 * A core would hold keys, and so would what the libraries free: glibc overwrites
 * it.  And each client takes a descriptor.
 */
static void
set_limits(void)
{
	struct rlimit files;

	(void) prctl(PR_SET_DUMPABLE, 0);
	(void) mallopt(M_PERTURB, 0x55);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
	{
		files.rlim_cur = files.rlim_max;
		(void) setrlimit(RLIMIT_NOFILE, &files);
	}
}

int
main(int argc, char **argv)
{
	bool		check = false;
	char	   *problem;
	int			epoll;
	int			signals;
	int			socket;

	read_arguments(argc, argv, &check);
	signals = open_signals();
	if (!ad_settings_read(config_path, &settings, &problem))
		return complain(problem);
	if (check)
		return ad_listen_check(settings.listen, &problem) && ad_link_check(settings.database, &problem) ? 0 : complain(problem);
	set_limits();
	srandom((unsigned) (time(NULL) ^ getpid()));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	socket = ad_listen(settings.listen, settings.socket_mode, &problem);
	if (socket < 0 || signals < 0 || epoll < 0)
		return complain(problem);
	if (!ad_http_start(socket, &settings))
	{
		ad_log("cannot start libmicrohttpd");
		return 1;
	}
	ad_queue_start(epoll, &settings);
	ad_notify("READY=1");
	run(epoll, signals);
	ad_queue_stop();
	/* resumed, answered, sent */
	for (int i = 0; i < 3; i++)
		ad_http_run();
	ad_http_stop();
	ad_listen_end(settings.listen);
	return 0;
}
