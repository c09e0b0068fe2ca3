/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  What is authd told, and where does it read that?
 *
 * Knows neither HTTP library nor database, and locks nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "settings.h"

#define LINE_MAX_BYTES 4096

typedef enum Kind
{
	TEXT, NUMBER, OCTAL, SWITCH
} Kind;

static const struct
{
	const char *name;
	Kind		kind;
	size_t		offset;
	long		least;
	long		most;
}			known[] = {
	{"listen", TEXT, offsetof(AdSettings, listen), 0, 0},
	{"socket_mode", OCTAL, offsetof(AdSettings, socket_mode), 0, 0777},
	{"database", TEXT, offsetof(AdSettings, database), 0, 0},
	{"connections", NUMBER, offsetof(AdSettings, links), 1, 64},
	{"batch", NUMBER, offsetof(AdSettings, batch), 1, 1000},
	{"queue", NUMBER, offsetof(AdSettings, queue), 1, 1000000},
	{"clients", NUMBER, offsetof(AdSettings, clients), 1, 1000000},
	{"deadline", NUMBER, offsetof(AdSettings, deadline), 10, 600000},
	{"idle", NUMBER, offsetof(AdSettings, idle), 1, 3600},
	{"address_header", TEXT, offsetof(AdSettings, address_header), 0, 0},
	{"repeat_refusals", SWITCH, offsetof(AdSettings, repeat_refusals), 0, 0},
};

#define KNOWN (sizeof(known) / sizeof(known[0]))

static bool
set_number(void *field, const char *value, int base, size_t i, char **problem)
{
	char	   *end;
	long		number;

	errno = 0;
	number = strtol(value, &end, base);
	if (errno == 0 && end != value && *end == '\0' && number >= known[i].least && number <= known[i].most)
	{
		*(int *) field = (int) number;
		return true;
	}
	*problem = ad_format(NULL, base == 8 ? "%s must be an octal number from %lo to %lo, not \"%.40s\"" :
						 "%s must be a number from %ld to %ld, not \"%.40s\"",
						 known[i].name, known[i].least, known[i].most, value);
	return false;
}

static bool
set(AdSettings *settings, size_t i, const char *value, char **problem)
{
	void	   *field = (char *) settings + known[i].offset;

	switch (known[i].kind)
	{
		case TEXT:
			free(*(char **) field);
			*(char **) field = strdup(value);
			return *(char **) field != NULL;
		case SWITCH:
			*(bool *) field = strcmp(value, "on") == 0;
			if (*(bool *) field || strcmp(value, "off") == 0)
				return true;
			*problem = ad_format(NULL, "%s must be on or off, not \"%.40s\"", known[i].name, value);
			return false;
		case OCTAL:
			return set_number(field, value, 8, i, problem);
		default:
			return set_number(field, value, 10, i, problem);
	}
}

/* Without the blanks around it, in its place. */
static char *
trim(char *text)
{
	char	   *end;

	text	  +=strspn(text, " \t\r\n");
	end = text +strlen(text);

	while (end > text &&strchr(" \t\r\n", end[-1]) != NULL)
		end--;
	*end = '\0';
	return text;
}

static bool
read_line(AdSettings *settings, char *line, char **problem)
{
	char	   *name = trim(line);
	char	   *value = strchr(name, '=');

	if (*name == '\0' || *name == '#')
		return true;
	if (value == NULL)
	{
		*problem = ad_format(NULL, "there is no \"=\" in it");
		return false;
	}
	*value++ = '\0';
	name = trim(name);
	value = trim(value);
	for (size_t i = 0; i < KNOWN; i++)
	{
		if (strcmp(known[i].name, name) == 0)
			return set(settings, i, value, problem);
	}
	*problem = ad_format(NULL, "there is no setting \"%.40s\"", name);
	return false;
}

static bool
read_lines(FILE *file, const char *path, AdSettings *settings, char **problem)
{
	char		line[LINE_MAX_BYTES];
	int			number = 0;

	while (fgets(line, sizeof(line), file) != NULL)
	{
		char	   *why = NULL;

		number++;
		if (read_line(settings, line, &why))
			continue;
		*problem = ad_format(NULL, "line %d of %s: %s", number, path, why == NULL ? "no memory" : why);
		free(why);
		return false;
	}
	return true;
}

bool
ad_settings_read(const char *path, AdSettings *settings, char **problem)
{
	FILE	   *file;
	bool		done;

	*settings = (AdSettings)
	{
		.listen = strdup("unix:/run/unleash_tokens-authd/authd.sock"),.socket_mode = 0660,
			.database = strdup("user=unleash_tokens_auth"),.address_header = strdup(""),
			.links = 2,.batch = 200,.queue = 10000,.clients = 10000,.deadline = 5000,.idle = 75
	};
	*problem = NULL;
	if (settings->listen == NULL || settings->database == NULL || settings->address_header == NULL)
		return false;
	if (path == NULL)
		return true;
	file = fopen(path, "re");
	if (file == NULL)
	{
		*problem = ad_format(NULL, "cannot read %s: %s", path, strerror(errno));
		return false;
	}
	done = read_lines(file, path, settings, problem);
	fclose(file);
	return done;
}

void
ad_settings_take(AdSettings *settings, AdSettings *fresh)
{
	char	   *old = settings->database;

	settings->database = fresh->database;
	settings->deadline = fresh->deadline;
	settings->queue = fresh->queue;
	fresh->database = old;
	ad_settings_free(fresh);
}

void
ad_settings_free(AdSettings *settings)
{
	free(settings->listen);
	free(settings->database);
	free(settings->address_header);
	*settings = (AdSettings)
	{
		0
	};
}
