/*-------------------------------------------------------------------------
 *
 * pipeline.c
 *	  What does a server answer to statements that were all sent before its
 *	  first answer?
 *
 * Reads lines from standard input and sends them in the pipeline mode of libpq:
 * a statement, with a tab and its parameter behind it if there is one; "sync"
 * for the end of a batch; "read" for a look at what has been answered.  Prints
 * a line for each batch: the values, SQLSTATEs, and "aborted" for what the
 * server left out after an error, separated by commas.
 *
 * usage: pipeline CONNINFO
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

static void
fail(PGconn *conn, const char *what)
{
	fprintf(stderr, "%s: %s", what, PQerrorMessage(conn));
	exit(1);
}

static void
send_line(PGconn *conn, char *line)
{
	char	   *tab = strchr(line, '\t');
	const char *values[1] = {tab == NULL ? NULL : tab + 1};

	if (tab != NULL)
		*tab = '\0';
	if (!PQsendQueryParams(conn, line, tab == NULL ? 0 : 1, NULL, values, NULL, NULL, 0))
		fail(conn, line);
}

/* One answer; a statement without rows says nothing. */
static void
print_result(const PGresult *result, const char **separator)
{
	const char *said = NULL;

	switch (PQresultStatus(result))
	{
		case PGRES_TUPLES_OK:
			said = PQgetvalue(result, 0, 0);
			break;
		case PGRES_FATAL_ERROR:
			said = PQresultErrorField(result, PG_DIAG_SQLSTATE);
			break;
		case PGRES_PIPELINE_ABORTED:
			said = "aborted";
			break;
		default:
			return;
	}
	printf("%s%s", *separator, said == NULL ? "" : said);
	*separator = ",";
}

static void
read_batch(PGconn *conn)
{
	const char *separator = "";

	for (;;)
	{
		PGresult   *result = PQgetResult(conn);

		if (result == NULL)
		{
			if (PQstatus(conn) != CONNECTION_OK)
				fail(conn, "the connection is gone");
			continue;			/* between two statements */
		}
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
		{
			PQclear(result);
			break;
		}
		print_result(result, &separator);
		PQclear(result);
	}
	printf("\n");
}

int
main(int argc, char **argv)
{
	PGconn	   *conn = PQconnectdb(argc > 1 ? argv[1] : "");
	static char line[65536];
	int			batches = 0;

	if (PQstatus(conn) != CONNECTION_OK || !PQenterPipelineMode(conn))
		fail(conn, "no pipeline");
	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, "sync") == 0)
		{
			if (!PQpipelineSync(conn))
				fail(conn, "sync");
			batches++;
		}
		else if (strcmp(line, "read") == 0)
		{
			for (; batches > 0; batches--)
				read_batch(conn);
		}
		else
			send_line(conn, line);
	}
	PQfinish(conn);
	return 0;
}
