#!/usr/bin/env python3
"""Is the secret on standard input valid?  With psycopg 2 (Debian: python3-psycopg2), which binds nothing.

    PGUSER=shop_literal PGDATABASE=unleash ./check_psycopg2.py <secret.txt

Prints the token as JSON, or "refused" and exits with 1.
"""
import json
import sys

import psycopg2

secret = sys.stdin.read().strip()
connection = psycopg2.connect("")  # libpq's environment: PGHOST, PGDATABASE, PGUSER
connection.set_session(readonly=True, autocommit=True)
with connection.cursor() as cursor:
    # psycopg 2 writes the secret into the text: log in as a role whose texts are kept out of the log, and see to it
    cursor.execute("SELECT current_setting('log_statement') || current_setting('log_min_error_statement') || current_setting('track_activities')")
    if cursor.fetchone() != ("nonepanicoff",):
        sys.exit("the statements of this role may be logged: see examples/clients/roles.sql")
    cursor.execute("SELECT unleash_tokens.validate_api_token(%s)", (secret,))
    (token,) = cursor.fetchone()
connection.close()

if token is None:
    print("refused")
    sys.exit(1)
print(json.dumps(token))
