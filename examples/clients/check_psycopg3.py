#!/usr/bin/env python3
"""Is the secret on standard input valid?  With psycopg 3 (Debian: python3-psycopg), which binds parameters.

    PGUSER=shop PGDATABASE=unleash ./check_psycopg3.py <secret.txt

Prints the token as JSON, or "refused" and exits with 1.
"""
import json
import sys

import psycopg

secret = sys.stdin.read().strip()
with psycopg.connect() as connection:  # libpq's environment: PGHOST, PGDATABASE, PGUSER
    connection.read_only = True
    # the text that is sent, and logged, says $1
    (token,) = connection.execute("SELECT unleash_tokens.validate_api_token(%s)", (secret,)).fetchone()

if token is None:
    print("refused")
    sys.exit(1)
print(json.dumps(token))
