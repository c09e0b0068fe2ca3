/*-------------------------------------------------------------------------
 *
 * listen.c
 *	  Where do clients find authd?
 *
 * Knows neither HTTP library nor database, and locks nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "listen.h"
#include "log.h"

#define UNIX "unix:"
#define BACKLOG 4096

static const char *
unix_path(const char *where)
{
	return strncmp(where, UNIX, strlen(UNIX)) == 0 ? where + strlen(UNIX) : NULL;
}

/* Does nobody listen there any more?  Then the path may go. */
static void
remove_stale(const struct sockaddr_un *address)
{
	int			probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (probe >= 0 && connect(probe, (const struct sockaddr *) address, sizeof(*address)) != 0 && errno == ECONNREFUSED)
		(void) unlink(address->sun_path);
	if (probe >= 0)
		close(probe);
}

static int
listen_unix(const char *path, int mode)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t		before;
	int			fd;
	int			failed;

	memcpy(address.sun_path, path, strlen(path));
	remove_stale(&address);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	before = umask(0777 & ~mode);
	failed = bind(fd, (struct sockaddr *) &address, sizeof(address));
	umask(before);
	if (failed == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Numbers only: a name would be looked up, and may be several addresses. */
static struct addrinfo *
read_port(const char *where)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	char	   *copy = strdup(where);
	char	   *host = copy;
	char	   *colon = copy == NULL ? NULL : strrchr(copy, ':');

	if (colon != NULL && colon > host)
	{
		*colon = '\0';
		if (host[0] == '[' && colon[-1] == ']')
		{
			colon[-1] = '\0';
			host++;
		}
		if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
			found = NULL;
	}
	free(copy);
	return found;
}

static int
listen_port(const char *where)
{
	struct addrinfo *found = read_port(where);
	int			yes = 1;
	int			fd;

	if (found == NULL)
		return -1;
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
					bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0))
	{
		close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

bool
ad_listen_check(const char *where, char **problem)
{
	const char *path = unix_path(where);
	struct addrinfo *found = path == NULL ? read_port(where) : NULL;
	bool		is_right = path == NULL ? found != NULL :
		*path == '/' && strlen(path) < sizeof(((struct sockaddr_un *) NULL)->sun_path);

	*problem = NULL;
	if (found != NULL)
		freeaddrinfo(found);
	if (!is_right)
		*problem = ad_format(NULL, "listen must be unix: and a path of at most %zu bytes, or a numeric address, a colon and a port, not \"%.120s\"",
							 sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1, where);
	return is_right;
}

int
ad_listen(const char *where, int mode, char **problem)
{
	const char *path = unix_path(where);
	int			fd;

	if (!ad_listen_check(where, problem))
		return -1;
	fd = path == NULL ? listen_port(where) : listen_unix(path, mode);
	if (fd < 0)
		*problem = ad_format(NULL, "cannot listen at %s: %s", where, strerror(errno));
	return fd;
}

void
ad_listen_end(const char *where)
{
	const char *path = unix_path(where);

	if (path != NULL)
		(void) unlink(path);
}
