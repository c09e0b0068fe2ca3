#!/usr/bin/env node
// The SQL door over PostgREST's socket: open to a JWT for unleash_tokens_admin, and to nothing and nobody else.

import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';

import {
	SECRET, TOKENS, TOKEN_KEYS, assert, assertNothingStored, assertStatus, create, env, finish, minimal, poll, rest, root, run,
	send, sql, stored, test, useEnv, validate,
} from './lib.mjs';

useEnv();
const CREATE = '/rpc/create_api_token';
const JSON_TYPE = { 'Content-Type': 'application/json' };
const admin = { Authorization: `Bearer ${env.SQL_JWT}`, ...JSON_TYPE };
const call = (name, body, headers = admin) => rest('POST', `/rpc/${name}`, headers, JSON.stringify(body));

const base64url = (text) => Buffer.from(text).toString('base64url');
const secret = readFileSync(path.join(env.PGHOST, 'jwt-secret'), 'utf8').trim();
function jwt(claims, key = secret, alg = 'HS256') {
	const signed = `${base64url(JSON.stringify({ alg, typ: 'JWT' }))}.${base64url(JSON.stringify(claims))}`;
	const hash = { HS256: 'sha256', HS512: 'sha512' }[alg];
	return `${signed}.${hash ? createHmac(hash, key).update(signed).digest('base64url') : ''}`;
}

// ---- With the right JWT ---------------------------------------------------------------------------------------------

await test('201, Location and the bare object', async () => {
	for (const key of [env.SQL_JWT, jwt({ role: 'unleash_tokens_admin' })]) {
		const answer = await rest('POST', CREATE, { Authorization: `Bearer ${key}`, ...JSON_TYPE },
			JSON.stringify({ type: 'frontend', tokenName: `${run} rpc` }));
		assertStatus(answer, 201);
		const { json } = answer;
		assert.deepEqual(Object.keys(json).sort(), TOKEN_KEYS);
		assert.equal(json.tokenName, `${run} rpc`);
		assert.deepEqual([json.type, json.environment, json.projects, json.project], ['frontend', 'development', ['*'], '*']);
		const selector = json.secret.match(SECRET)[3];
		assert.deepEqual(answer.headers('Location'), [`../api_tokens?selector=eq.${selector}`]);
		const { pathname, search } = new URL(answer.header('Location'), 'http://localhost/rpc/create_api_token');
		const found = await rest('GET', pathname + search, { Authorization: `Bearer ${env.SQL_JWT}` });
		assert.deepEqual(found.json.map((token) => token.selector), [selector]);
		assert.deepEqual(answer.headers('Cache-Control'), ['no-store']);
		assert.match(answer.header('Content-Type'), /^application\/json/);
		assert.equal((await validate(json.secret)).selector, selector);
	}
});

await test('the author is the role of the JWT', async () => {
	const { secret: made } = (await call('create_api_token', minimal())).json;
	assert.equal(await sql(`SELECT created_by FROM unleash_tokens.api_token WHERE selector = '${made.match(SECRET)[3]}'`),
		'unleash_tokens_admin');
});

await test('validate_api_token', async () => {
	const { json } = await create();
	const answer = await call('validate_api_token', { secret: json.secret });
	assertStatus(answer, 200);
	assert.equal(answer.json.tokenName, json.tokenName);
	assert.deepEqual(answer.headers('Location'), []);
	assert.equal((await call('validate_api_token', { secret: `${json.secret}x` })).text, 'null');
});

for (const [name, body, code, status, says] of [
	['a bad request', minimal({ type: 'x' }), '22023', 400, /"x"/], ['a missing field', {}, '22023', 400, /type/],
	['an unknown project', minimal({ projects: ['none such'] }), '22023', 400, /none such/], ['an array', [], '22023', 400, /./],
	['a number for a name', minimal({ tokenName: 5 }), '22023', 400, /tokenName/], ['admin in one environment', minimal({ type: 'admin', environment: 'development' }), '22023', 400, /development/],
])
	await test(`${status} ${code}: ${name}`, () => assertNothingStored(async () => {
		const answer = await call('create_api_token', body);
		assertStatus(answer, status);
		assert.deepEqual(Object.keys(answer.json).sort(), ['code', 'details', 'hint', 'message']);
		assert.equal(answer.json.code, code);
		assert.match(answer.json.message, /\w/);
		assert.match(answer.json.details, says);
		assert.match(answer.json.hint, /\w/);
		assert.deepEqual(answer.headers('Location'), []);
	}));

await test('create_api_tokens: many, in their order, or none', async () => {
	const many = Array.from({ length: 100000 }, (_, i) => ({ type: i % 2 ? 'client' : 'admin', tokenName: `${run} many ${i}` }));
	const stored = () => sql(`SELECT count(*) FROM unleash_tokens.api_token WHERE token_name LIKE '${run} many %'`);
	for (const [wrong, says] of [[{ ...many[99999], type: 'x' }, /Element 99999: .*"x"/], [{ ...many[99999], tokenName: 7 }, /Element 99999: .*tokenName/]]) {
		const answer = await call('create_api_tokens', [...many.slice(0, 99999), wrong]);
		assertStatus(answer, 400);
		assert.equal(answer.json.code, '22023');
		assert.match(answer.json.details, says);
	}
	assertStatus(await call('create_api_tokens', [...many, many[0]]), 400);
	assertStatus(await call('create_api_tokens', {}), 400);
	assert.equal(await stored(), '0');
	const answer = await call('create_api_tokens', many);
	assertStatus(answer, 201);
	assert.deepEqual(answer.headers('Cache-Control'), ['no-store']);
	assert.deepEqual(answer.headers('Location'), []);
	assert.deepEqual(answer.json.map((token) => token.tokenName), many.map((token) => token.tokenName));
	assert.equal(new Set(answer.json.map((token) => token.secret)).size, 100000);
	assert.equal(await stored(), '100000');
	for (const i of [0, 1, 99999]) assert.equal((await validate(answer.json[i].secret)).tokenName, many[i].tokenName);
	assertStatus(await call('create_api_tokens', many.slice(0, 2), JSON_TYPE), 401);
	// PostgREST wants the same keys in all objects, unless the query names columns; which ones is all the same
	const mixed = [{ type: 'client', tokenName: `${run} many a`, project: 'default' }, { type: 'admin', tokenName: `${run} many b` }];
	assert.match((await call('create_api_tokens', mixed)).text, /PGRST102/);
	const taken = await call('create_api_tokens?columns=type', mixed);
	assertStatus(taken, 201);
	assert.deepEqual(taken.json.map((token) => [token.tokenName, token.projects]), [[`${run} many a`, ['default']], [`${run} many b`, ['*']]]);
	assert.match((await call('create_api_tokens?columns=type', [mixed[1], { ...mixed[0], project: 'none such' }])).json.details, /Element 1: .*none such/);
	assert.match((await call('create_api_tokens?columns=type', [mixed[1], []])).json.details, /Element 1: /);
	await sql(`DELETE FROM unleash_tokens.api_token WHERE token_name LIKE '${run} many %'`);
});

await test('doctor answers GET, and shows nothing of how the server is reached', async () => {
	const answer = await rest('GET', '/rpc/doctor', admin);
	assertStatus(answer, 200);
	assert.ok(answer.json.length >= 30);
	for (const row of answer.json) {
		assert.deepEqual(Object.keys(row), ['check_name', 'status', 'detail', 'hint']);
		assert.match(row.status, /^(ok|warning|error|unknown)$/);
		assert.equal(row.hint === null, row.status === 'ok', JSON.stringify(row));
	}
	const bad = answer.json.filter((row) => row.status !== 'ok' && /roles|grants|privileges|logging|timeouts|owners|path|preload/.test(row.check_name));
	assert.deepEqual(bad, []);
	assert.notEqual((await rest('GET', '/rpc/doctor')).status, 200);
});

// ---- Without it -----------------------------------------------------------------------------------------------------

const key = (claims, ...more) => ({ Authorization: `Bearer ${jwt(claims, ...more)}`, ...JSON_TYPE });
const now = Math.floor(Date.now() / 1000);
const [head, claims, signature] = env.SQL_JWT.split('.');
const wrong = {
	'no JWT': JSON_TYPE,
	'an admin token as it is': { Authorization: env.ADMIN_TOKEN, ...JSON_TYPE },
	'an admin token with Bearer': { Authorization: `Bearer ${env.ADMIN_TOKEN}`, ...JSON_TYPE },
	'a JWT with another signature': { Authorization: `Bearer ${head}.${claims}.${signature.replace(/^./, (c) => (c === 'A' ? 'B' : 'A'))}`, ...JSON_TYPE },
	'a JWT without a signature': { Authorization: `Bearer ${head}.${claims}.`, ...JSON_TYPE },
	'a JWT with alg none': key({ role: 'unleash_tokens_admin' }, secret, 'none'),
	'a JWT signed with another secret': key({ role: 'unleash_tokens_admin' }, 'x'.repeat(64)),
	'a JWT signed with an empty secret': key({ role: 'unleash_tokens_admin' }, ''),
	'an expired JWT': key({ role: 'unleash_tokens_admin', exp: now - 3600 }),
	'a JWT that is not valid yet': key({ role: 'unleash_tokens_admin', nbf: now + 3600 }),
	'a JWT without a role': key({ sub: 'x' }),
	'a JWT for the anonymous role': key({ role: 'unleash_tokens_rest' }),
	'a JWT for unleash_tokens_authenticator': key({ role: 'unleash_tokens_authenticator' }),
	'a JWT for the superuser': key({ role: 'postgres' }),
	'a JWT for a role that is not there': key({ role: 'none such' }),
	'a JWT for a role of PostgreSQL': key({ role: 'pg_read_all_data' }),
	'a role that is not a text': key({ role: ['unleash_tokens_admin'] }),
};
for (const [name, headers] of Object.entries(wrong))
	await test(`refused: ${name}`, () => assertNothingStored(async () => {
		for (const [fn, body] of [['create_api_token', minimal({ type: 'admin' })], ['validate_api_token', { secret: env.ADMIN_TOKEN }]]) {
			const answer = await call(fn, body, headers);
			assert.ok(answer.status >= 400 && answer.status < 500, answer.text || answer.head);
			assert.doesNotMatch(answer.text, /\.v2_|selector|tokenName/);
			assert.deepEqual(answer.headers('Location'), []);
		}
	}));

await test('control: the same JWT with the right claims and secret is accepted', async () => {
	assertStatus(await call('create_api_token', minimal(), key({ role: 'unleash_tokens_admin', exp: now + 3600, nbf: now - 3600 })), 201);
});

// ---- The whole schema, as who comes without a JWT -------------------------------------------------------------------

const rows = async (query) => (await sql(query)).split('\n').filter(Boolean).map((line) => line.split('|'));
const functions = await rows(`SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'unleash_tokens'::regnamespace ORDER BY 1`);
const relations = await rows(`SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum = 2
	WHERE relnamespace = 'unleash_tokens'::regnamespace AND relkind IN ('r', 'v', 'm', 'p', 'f', 'S') ORDER BY 1`);
const REST = new Set(['rest_api', 'rest_read']);	// these ask for an API key themselves
// anybody's: guard() has no rights of its own, and without it its readers tell of nobody
const OPEN = 'guard() guard(secret text) token_environment() token_identity() token_name() token_projects() ' +
	'token_reaches(project text) token_reaches(project text, environment text) token_selector() token_type()';
const ofNobody = (answer) => answer.status === 200 && ['', 'null', 'false'].includes(answer.text.trim());

await test('there is a schema to walk', () => {
	assert.ok(functions.some(([name]) => name === 'create_api_token') && functions.some(([name]) => name === 'rest_api'));
	assert.ok(relations.some(([name]) => name === 'api_token') && relations.some(([name]) => name === 'project'));
});

for (const [name] of functions.filter(([f]) => !REST.has(f)))
	await test(`anonymous: function ${name}`, () => assertNothingStored(async () => {
		const octets = { 'Content-Type': 'application/octet-stream' };
		const asked = [
			await rest('GET', `/rpc/${name}`), await rest('HEAD', `/rpc/${name}`), await call(name, minimal(), JSON_TYPE), await call(name, {}, JSON_TYPE),
			await call(name, { secret: env.ADMIN_TOKEN }, JSON_TYPE), await rest('GET', `/rpc/${name}?secret=x`), await rest('POST', `/rpc/${name}`, octets, 'x'),
			await rest('POST', `/rpc/${name}`, { 'Content-Type': 'text/plain' }, 'x'), await call(name, { token: 'x', changes: {} }, JSON_TYPE),
			await call(name, { token: 'x' }, JSON_TYPE), await call(name, { name: 'x' }, JSON_TYPE), await call(name, { secrets: ['x'] }, JSON_TYPE),
			await call(name, { older_than: '0s' }, JSON_TYPE),
		];
		for (const [i, answer] of asked.entries())
			// for HEAD PostgREST 12 runs no STABLE function: 200, and nothing told
			assert.ok([400, 401, 403, 404, 405].includes(answer.status) || (i === 1 && answer.status === 200 && answer.bytes.length === 0) || (name.startsWith('token_') && ofNobody(answer)), `${answer.head}\n${answer.text}`);
		assert.ok(asked.every((answer) => !/\.v2_/.test(answer.text)));
	}));

for (const [name, column] of relations)
	await test(`anonymous: relation ${name}`, () => assertNothingStored(async () => {
		for (const [method, target, body] of [['GET', `/${name}`], ['HEAD', `/${name}`], ['GET', `/${name}?select=*&limit=1`], ['POST', `/${name}`, '{}'],
			['PATCH', `/${name}`, `{"${column}":"1"}`], ['DELETE', `/${name}`], ['PUT', `/${name}?${column}=eq.1`, `{"${column}":"1"}`]]) {
			const answer = await rest(method, target, { ...JSON_TYPE, Prefer: 'return=representation' }, body);
			// of a view that cannot be changed PostgreSQL says so before it looks at privileges
			const refused = [401, 403, 404, 405].includes(answer.status) || (method === 'PUT' && answer.status === 400) ||
				(name === 'stat' && method !== 'GET' && method !== 'HEAD' && answer.json?.code === '55000');
			assert.ok(refused, `${method} ${answer.head}\n${answer.text}`);
			assert.doesNotMatch(answer.text, /selector"|verifier/);
		}
	}));

await test('PostgREST describes nothing to anybody', async () => {
	for (const headers of [{}, admin])
		for (const more of [{}, { Accept: 'application/openapi+json' }]) {
			const answer = await rest('GET', '/', { ...headers, ...more });
			assertStatus(answer, 404);
			assert.doesNotMatch(answer.text, /api_token/);
		}
});

await test('roles.sql takes back what was granted before', async () => {
	const rights = () => sql(`SELECT string_agg(concat_ws(' ', relname, relacl), E'\n' ORDER BY relname) FROM pg_class WHERE relnamespace = 'unleash_tokens'::regnamespace
		UNION ALL SELECT string_agg(concat_ws(' ', oid::regprocedure, proacl), E'\n' ORDER BY oid) FROM pg_proc WHERE pronamespace = 'unleash_tokens'::regnamespace
		UNION ALL SELECT nspacl::text FROM pg_namespace WHERE nspname = 'unleash_tokens'
		UNION ALL SELECT string_agg(concat_ws(' ', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, ARRAY(SELECT unnest(rolconfig) ORDER BY 1)), E'\n' ORDER BY rolname)
			FROM pg_roles WHERE rolname = 'unleash_tokens_authenticator' OR rolname LIKE 'unleash%'`);
	const before = await rights();
	const roles = 'unleash_tokens_rest, unleash_tokens_admin, unleash_tokens_standby, unleash_tokens_auth';
	for (const grant of [`GRANT CREATE ON SCHEMA unleash_tokens TO ${roles}`, `GRANT ALL ON ALL TABLES IN SCHEMA unleash_tokens TO ${roles}`,
		`GRANT ALL ON ALL SEQUENCES IN SCHEMA unleash_tokens TO ${roles}`, `GRANT ALL ON ALL ROUTINES IN SCHEMA unleash_tokens TO ${roles}`,
		'ALTER ROLE unleash_tokens_authenticator SUPERUSER INHERIT CREATEROLE CREATEDB REPLICATION BYPASSRLS', 'ALTER ROLE unleash_tokens_rest SUPERUSER LOGIN BYPASSRLS',
		'ALTER ROLE unleash_tokens_admin LOGIN CREATEROLE', 'ALTER ROLE unleash_tokens_authenticator RESET log_parameter_max_length', `ALTER ROLE unleash_tokens_authenticator SET statement_timeout = '1h'`])
		await sql(grant);
	assert.notEqual(await rights(), before);
	await sql(`\\i '${path.join(root, 'http/roles.sql')}'`);
	assert.equal((await rights()).split('\n').sort().join('\n'), before.split('\n').sort().join('\n'));
});

await test('settings that others give the login steer nothing: what is answered is stored', async () => {
	const settings = { 'pgrst.db_tx_end': 'rollback', 'pgrst.db_schemas': 'public', 'pgrst.db_anon_role': 'postgres', 'pgrst.openapi_mode': 'ignore-privileges' };
	// what PostgREST reads it has read when it sees a function made later
	const reloaded = async (name) => {
		await sql(`CREATE FUNCTION unleash_tokens.${name}() RETURNS int LANGUAGE sql RETURN 1; GRANT EXECUTE ON FUNCTION unleash_tokens.${name}() TO unleash_tokens_admin; NOTIFY pgrst, 'reload config'; NOTIFY pgrst, 'reload schema'`);
		await poll('PostgREST has read everything again', 20000, async () => {
			const seen = await rest('GET', `/rpc/${name}`, admin);
			return seen.status === 200 || seen.status === 406;
		});
	};
	try {
		for (const [name, value] of Object.entries(settings)) await sql(`ALTER ROLE unleash_tokens_authenticator SET ${name} = '${value}'`);
		await reloaded('steered');
		const answer = await create();
		assertStatus(answer, 201);
		assert.ok(await validate(answer.json.secret), 'a secret was shown, and not stored');
		assertStatus(await send('GET', '/health'), 200);
	} finally {
		for (const name of Object.keys(settings)) await sql(`ALTER ROLE unleash_tokens_authenticator RESET ${name}`);
		await reloaded('unsteered');
		await sql('DROP FUNCTION unleash_tokens.steered(); DROP FUNCTION unleash_tokens.unsteered()');
	}
});

await test('a request has the limit of its entry, whatever the login has, which reads the catalog with it', async () => {
	const login = await sql(`SELECT substr(c, 19)::interval > '1 minute' FROM pg_roles, unnest(rolconfig) AS c WHERE rolname = 'unleash_tokens_authenticator' AND c LIKE 'statement_timeout=%'`);
	assert.equal(login, 't');
	await sql(`ALTER FUNCTION unleash_tokens.rest_api(bytea) SET statement_timeout = '1ms'; NOTIFY pgrst, 'reload schema'`);
	try {
		await sql('BEGIN; LOCK TABLE unleash_tokens.api_token');
		await poll('a request that waits is refused long before lock_timeout', 20000, async () => {
			const start = Date.now();
			return (await create()).status === 503 && Date.now() - start < 3000;
		});
	} finally {
		await sql('ROLLBACK');
		await sql(`ALTER FUNCTION unleash_tokens.rest_api(bytea) SET statement_timeout = '10s'; NOTIFY pgrst, 'reload schema'`);
	}
	await poll('it works again', 20000, async () => (await create()).status === 201);
});

await test('anonymous: the privileges are those of the REST entries and no more', async () => {
	const list = (query) => sql(`SELECT string_agg(x, ' ' ORDER BY x) FROM (${query}) AS s(x)`);
	for (const role of ['unleash_tokens_rest', 'unleash_tokens_authenticator', 'public']) {
		const callable = await list(`SELECT proname || '(' || pg_get_function_identity_arguments(oid) || ')' FROM pg_proc
			WHERE pronamespace = 'unleash_tokens'::regnamespace AND has_function_privilege('${role}', oid, 'EXECUTE')`);
		assert.equal(callable, (role === 'unleash_tokens_rest' ? OPEN.replace(' token_', ' rest_api() rest_api(bytea) rest_read(bytea) token_') : OPEN), role);
		const visible = await list(`SELECT relname FROM pg_class WHERE relnamespace = 'unleash_tokens'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')
			AND has_table_privilege('${role}', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')`);
		assert.equal(visible, '', role);
	}
	assert.equal(await list(`SELECT relname FROM pg_class WHERE relnamespace = 'unleash_tokens'::regnamespace AND relkind = 'r'
		AND has_table_privilege('unleash_tokens_admin', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')`), '');
});

// ---- The REST entries, asked without nginx ---------------------------------------------------------------------------

const gateway = (more) => ({ Accept: 'application/octet-stream', 'Content-Type': 'application/octet-stream', ...more });
const entry = (name, more, body = JSON.stringify(minimal())) => rest('POST', `/rpc/${name}`, gateway(more), body);

await test('REST entries past nginx: the key is the credential, other headers are not', () => assertNothingStored(async () => {
	const forged = { 'X-Original-Method': 'POST', 'X-Original-URI': TOKENS, 'X-Original-Content-Type': 'application/json' };
	assertStatus(await entry('rest_api', forged), 401);
	assertStatus(await entry('rest_api', { ...forged, Authorization: 'x' }), 401);
	assertStatus(await entry('rest_api', { ...forged, 'X-User': 'admin', 'X-Role': 'admin' }), 401);
	for (const answer of [await entry('rest_api', {}), await rest('GET', '/rpc/rest_api', gateway({})), await entry('rest_read', {})]) {
		assertStatus(answer, 400);
		assert.equal(answer.json.name, 'BadDataError');
	}
	// nothing may write through the entry that runs read only
	assertStatus(await entry('rest_read', { ...forged, Authorization: env.ADMIN_TOKEN }), 404);
	assertStatus(await rest('GET', '/rpc/rest_api', { ...gateway({ ...forged, 'X-Original-Method': 'GET', Authorization: 'x' }) }), 401);
}));

await test('HEAD runs the entry too, where PostgREST would leave a STABLE one out', async () => {
	const forged = gateway({ 'X-Original-Method': 'HEAD', 'X-Original-URI': TOKENS, 'Content-Type': undefined });
	for (const [key, status] of [[undefined, 401], ['x', 401], [env.ADMIN_TOKEN, 200]])
		assertStatus(await rest('HEAD', '/rpc/rest_api', { ...forged, Authorization: key }), status);
});

await test('a write asked for on the read-only entry stores nothing', () => assertNothingStored(async () => {
	const answer = await rest('GET', '/rpc/rest_api', gateway({
		'X-Original-Method': 'POST', 'X-Original-URI': TOKENS, 'X-Original-Content-Type': 'application/json', Authorization: env.ADMIN_TOKEN }));
	assert.ok(answer.status >= 400, answer.text);
}));

await test('control: with the key they answer as behind nginx', async () => {
	const before = await stored();
	const answer = await entry('rest_api', { 'X-Original-Method': 'POST', 'X-Original-URI': TOKENS, 'X-Original-Content-Type': 'application/json',
		Authorization: env.ADMIN_TOKEN });
	assertStatus(answer, 201);
	assert.notEqual(await stored(), before);
});

await test('nginx leads nobody to /rpc', () => assertNothingStored(async () => {
	for (const target of [CREATE, '/rpc/validate_api_token', '/api_token', '/api_tokens', '/rpc/rest_api', '/%72pc/create_api_token', '//rpc/create_api_token',
		'/x/../rpc/create_api_token', `${TOKENS}/../../../rpc/create_api_token`])
		for (const headers of [admin, { Authorization: env.SQL_JWT, ...JSON_TYPE }, JSON_TYPE]) {
			const answer = await send('POST', target, headers, JSON.stringify(minimal()));
			assertStatus(answer, 401);
			assert.equal(answer.json.details.length, 1);
		}
}));

finish();
