#!/usr/bin/env node
// Tokens are made, used, changed, imported, deleted and mistyped over both doors of a server that logs all it can; then
// everything that is left of it is searched for their keys.  Started by t/leaks/run.
//
// Each place that is searched holds a canary too, a text of the same shape that was put there on purpose.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

import pg from 'pg';

import {
	SECRET, TOKENS, answered, assert, assertStatus, create, env, exchange, finish, keyed, minimal, poll, rest, send, serveDir, sql, test, useEnv,
} from '../http/lib.mjs';
import {
	JSON_TYPE, failBehindTheGateway, failInTheMiddle, jwt, made, mistype, sendSecretsEverywhere, sendSecretsToPostgrest, sendToTheNotes, worksAgain,
} from './requests.mjs';
import {
	FORMS, Found, assertAbsent, canaryCount, filesOf, know, plant, plantText, randomKey, search, secretCount, unknown,
} from './secrets.mjs';

useEnv();
const data = readFileSync(path.join(serveDir, 'where'), 'utf8').trim();
const cluster = path.join(data, 'cluster'), standby = path.join(data, 'standby');
know(env.ADMIN_TOKEN, 'the first admin token');
know(env.SQL_JWT, 'the JWT');

// A program of PostgreSQL's, as the user of the server.
async function program(name, ...args) {
	const user = process.getuid() === 0 ? ['setpriv', '--reuid', process.env.SERVER_USER, '--regid', process.env.SERVER_USER, '--init-groups', '--'] : [];
	const [command, ...rest] = [...user, name, ...args];
	const { stdout } = await promisify(execFile)(command, rest, { cwd: data, maxBuffer: 1 << 28, encoding: 'buffer',
		env: { ...process.env, PGHOST: env.PGHOST, PGPORT: env.PGPORT, PGDATABASE: env.PGDATABASE, PGUSER: env.PGUSER } });
	return stdout;
}

// ---- What is kept for the search besides files -----------------------------------------------------------------------

const kept = { answers: [], errors: [], activity: new Set(), lists: [] };
answered.push((answer) => answer.status >= 400 && kept.answers.push(`${answer.head}\n\n${answer.text}`));

const keep = (place, rows) => rows.forEach((row) => place.add(JSON.stringify(row)));
let samples = 0;

const connect = async (user, more = {}) => {
	const client = new pg.Client({ host: env.PGHOST, port: Number(env.PGPORT), database: env.PGDATABASE, user, ...more });
	client.on('notice', (notice) => kept.errors.push(JSON.stringify({ ...notice, message: notice.message })));
	client.on('error', () => {});
	await client.connect();
	return client;
};

// It looks all the time, and is not to fill the log.
const monitor = await connect(env.PGUSER);
await monitor.query('SET log_min_messages = panic');
async function sampleActivity() {
	keep(kept.activity, (await monitor.query('SELECT query, application_name, wait_event, state, backend_type, usename FROM pg_stat_activity')).rows);
	samples++;
}

// From here on as often as it goes, besides behind each statement of the SQL door.
let sampling = true;
const sampler = (async () => {
	while (sampling) await sampleActivity();
})();

// ---- Before the first request ---------------------------------------------------------------------------------------

// What the README tells the owner of a caller's role; all, or all but one.
const MEASURES = { leaks_no_parameters: 'log_parameter_max_length = 0', leaks_no_parameters_on_error: 'log_parameter_max_length_on_error = 0',
	leaks_no_plan: 'plan_cache_mode = force_generic_plan' };
for (const role of ['leaks_app', ...Object.keys(MEASURES)]) {
	await sql(`CREATE ROLE ${role} LOGIN`);
	await sql(`GRANT unleash_tokens_admin TO ${role}`);
	for (const [without, measure] of Object.entries(MEASURES)) if (role !== without) await sql(`ALTER ROLE ${role} SET ${measure}`);
	if (Number(await sql('SHOW server_version_num')) >= 160000) await sql(`ALTER ROLE ${role} SET auto_explain.log_parameter_max_length = 0`);
}
await sql(`CREATE EXTENSION pg_stat_statements`);
await sql(`INSERT INTO unleash_tokens.project (id) VALUES ('leaks')`);
await sql(`ALTER SYSTEM SET archive_command = 'cp %p ../archive/%f'`);
await sql('SELECT pg_reload_conf()');
for (const table of (await sql(`SELECT oid::regclass FROM pg_class WHERE relnamespace = 'unleash_tokens'::regnamespace AND relkind = 'r'`)).split('\n'))
	await sql(`ALTER TABLE ${table} REPLICA IDENTITY FULL`);
await sql(`SELECT pg_create_logical_replication_slot('leaks', 'test_decoding')`);

// What code of somebody else's sees that runs in the same transaction, behind a REST entry.
await sql('CREATE TABLE public.witness (headers text)');
await sql(`CREATE FUNCTION public.witness() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF current_setting('request.path', true) LIKE '/rpc/rest%' THEN
			INSERT INTO public.witness VALUES (current_setting('request.headers', true));
		END IF;
		RETURN NULL;
	END $$`);
await sql(`CREATE TRIGGER witness AFTER INSERT OR UPDATE OR DELETE ON unleash_tokens.api_token FOR EACH ROW EXECUTE FUNCTION public.witness()`);

// ---- Over HTTP -------------------------------------------------------------------------------------------------------

const inTuples = plant('the name of a token'), inNotes = plant('a query to the notes');

await test('over HTTP: tokens are made, used, changed, deleted and mistyped', async () => {
	const client = await sendSecretsEverywhere();
	await sendSecretsToPostgrest(client);
	for (const type of ['client', 'backend', 'frontend', 'admin']) {
		const secret = await made(minimal({ type, tokenName: inTuples })), { 3: selector } = secret.match(SECRET);
		await send('POST', '/edge/validate', JSON_TYPE, JSON.stringify({ tokens: [secret, mistype(secret)] }));
		for (const key of [secret, mistype(secret)]) await send('GET', '/auth?type=client', { Authorization: key });
		for (const named of [secret, mistype(secret), selector])
			await send('PUT', `${TOKENS}/${named}`, { ...keyed(), ...JSON_TYPE }, '{"expiresAt": "2999-12-31T23:59:59Z"}');
		await send('GET', `${TOKENS}/${secret}`, keyed());
		await send('DELETE', `${TOKENS}/${mistype(secret)}`, keyed());
		if (type !== 'backend') await send('DELETE', `${TOKENS}/${secret}`, keyed());
		await create(minimal(), { Authorization: secret, ...JSON_TYPE });
	}
	await failInTheMiddle();
	await failBehindTheGateway(randomKey());
});

// ---- Over SQL --------------------------------------------------------------------------------------------------------

const app = await connect('leaks_app');
let statements = 0, refusals = 0;

// One statement with bind parameters; a refusal is kept.  as: how the driver sends it.
async function ask(client, text, values, as = {}) {
	statements++;
	try {
		return (await client.query({ text, values, ...as })).rows;
	} catch (error) {
		if (!error.code) throw error;
		refusals++;
		kept.errors.push(JSON.stringify({ ...error, message: error.message }));
		return [];
	} finally {
		await sampleActivity();
	}
}

// Without a name, as a named statement, and with the text as binary parameter.
const WAYS = [(text) => [text, {}], (text) => [text, { name: text.slice(0, 60) }], null];
async function askInEachWay(client, text, secret, ...more) {
	let rows;
	for (const way of WAYS)
		rows = way ? await ask(client, way(text)[0], [secret, ...more], way(text)[1]) : await ask(client, text, [Buffer.from(secret), ...more]);
	return rows;
}

const api = (call) => `SELECT unleash_tokens.${call} AS answer`;
async function makeBySql(client, body) {
	const [{ answer }] = await ask(client, api('create_api_token($1)'), [JSON.stringify(body)]);
	return know(answer.secret, 'a secret made by SQL');
}

const hex = (length) => [...Array(length)].map(() => Math.floor(Math.random() * 16).toString(16)).join('');
const foreign = (secret, more = {}) => ({ secret: know(secret, 'an imported secret'), tokenName: inTuples, type: 'client', environment: 'development', projects: ['*'], ...more });

// Secrets of Unleash's: two generations, weak ones, some that are refused.
function listToImport() {
	return [
		foreign(`*:development.${hex(56)}`), foreign(`leaks:development.${hex(56)}`, { projects: ['leaks'] }), foreign(hex(64)), foreign(`*:development.${hex(20)}`),
		foreign(`*:development.v2_${randomKey().slice(0, 22)}_${randomKey()}`), foreign(`*:development.v2_x-y_${randomKey().slice(0, 18)}_-${randomKey().slice(2)}`),
		foreign(`*:development.v2_utok${randomKey().slice(0, 18)}_${randomKey()}`), foreign(`*:none.${hex(56)}`, { environment: 'none' }),
		foreign(`*:development.${hex(56)}`, { type: 'none' }), foreign(`*:development.${hex(56)}`, { projects: ['none'] }),
	];
}

// What is pasted where a name is due: too much, too little, or something of old.
function piecesOf(secret) {
	const [, tail] = secret.split('.v2_');
	return [`${secret}\n`, `Bearer ${secret}`, `"${secret}"`, `${secret},${env.ADMIN_TOKEN}`, `${secret} ${secret} `, `v2_${tail}`, tail, tail.slice(5), tail.slice(-43),
		tail.slice(-42), `key=${tail.slice(-43)};`, know(`*:development.${hex(56)}`, 'an old secret'), know(hex(56), 'an old secret without a scope')];
}

async function useBySql(client) {
	for (const body of [{ type: 'client', tokenName: inTuples }, { type: 'backend', tokenName: inTuples, project: 'leaks' },
		{ type: 'frontend', tokenName: 'x', expiresAt: '2001-01-01T00:00:00Z' }, { type: 'admin', tokenName: inTuples }]) {
		const secret = await makeBySql(client, body);
		for (const sent of [secret, mistype(secret), unknown('an unknown secret by SQL'), `${secret} `, ` ${secret}`, `"${secret}"`, `Bearer ${secret}`, secret.slice(0, -1), secret.slice(1)]) {
			await askInEachWay(client, api('validate_api_token($1)'), sent);
			await ask(client, 'SELECT selector FROM unleash_tokens.validate_api_tokens($1)', [[sent, secret]]);
			await askInEachWay(client, api('get_api_tokens_by_name($1)'), sent);
			await ask(client, 'SELECT selector FROM unleash_tokens.api_tokens WHERE token_name = $1 OR $1 = ANY (projects)', [sent]);
			await askInEachWay(client, api('update_api_token($1, $2)'), sent, '{"expiresAt": "2999-12-31T23:59:59Z"}');
			await ask(client, api('update_api_token($1, $2)'), [sent, '{"expiresAt": 1}']);
		}
		for (const sent of [secret, mistype(secret), ...piecesOf(secret)])
			for (const field of ['type', 'environment', 'project', 'expiresAt'])
				await ask(client, api('create_api_token($1)'), [JSON.stringify({ type: 'client', tokenName: 'x', [field]: sent })]);
		if (body.type !== 'backend') await askInEachWay(client, api('delete_api_token($1)'), secret);
		await askInEachWay(client, api('validate_api_token($1)'), secret);
	}
	const list = listToImport();
	const [{ answer: report }] = await ask(client, api('import_api_tokens($1)'), [JSON.stringify({ tokens: list })]);
	assert.deepEqual([report.imported, report.refused.length], [6, 4], JSON.stringify(report));
	kept.lists.push(JSON.stringify(report));
	for (const { secret } of list) await askInEachWay(client, api('validate_api_token($1)'), secret);
	await ask(client, api('import_api_tokens($1)'), [JSON.stringify(list.map((one) => one.secret))]);
	// a transaction that fails behind its statement leaves its rows in the files
	await client.query('BEGIN');
	await makeBySql(client, { type: 'client', tokenName: inTuples });
	await client.query('ROLLBACK');
}

await test('over SQL: tokens are made, used, changed, imported, deleted and mistyped, by bind parameters', async () => {
	await useBySql(app);
	// as PostgREST does it
	const other = await connect('unleash_tokens_authenticator');
	await other.query('SET ROLE unleash_tokens_admin');
	await useBySql(other);
	await other.end();
	// over PostgREST
	const answer = await rest('POST', '/rpc/import_api_tokens', jwt(), JSON.stringify({ tokens: listToImport() }));
	assert.equal(answer.json.imported, 6, answer.text);
	assert.ok(refusals > 150, `only ${refusals} refusals`);
});

await test('over SQL: a statement that is cancelled', async () => {
	await sql('BEGIN');
	await sql('LOCK TABLE unleash_tokens.api_token');
	const asked = ask(app, api('validate_api_token($1)'), [env.ADMIN_TOKEN]);
	await poll('it was cancelled', 10000, async () => {
		await sql(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'leaks_app' AND wait_event_type = 'Lock'`);
		return Promise.race([asked.then(() => true), sql('SELECT pg_stat_clear_snapshot()').then(() => false)]);
	});
	await sql('ROLLBACK');
	await worksAgain();
});

await test('over a guarded API: tokens get in, are mistyped and refused, over HTTP and SQL, and their roles are no good', async () => {
	const { taken, refused } = await sendToTheNotes();
	assert.ok(taken > 100 && refused > 500, `${taken} taken, ${refused} refused`);
	const login = await connect('notes_authenticator');
	const enter = async (secret, more = '') => {
		await ask(login, 'BEGIN', []);
		await askInEachWay(login, api('guard($1)'), secret);
		if (more) await ask(login, more, []);
		await ask(login, 'ROLLBACK', []);
	};
	for (const secret of [env.NOTES_CLIENT, mistype(env.NOTES_CLIENT), unknown('an unknown token of the notes'), `${env.NOTES_ADMIN} `]) {
		await enter(secret);
		await enter(secret, 'SELECT 1 / 0');
		await ask(login, api('guard($1)'), [secret]); // outside a transaction
	}
	await ask(login, 'BEGIN', []);
	for (const secret of [env.NOTES_CLIENT, env.NOTES_ADMIN]) await ask(login, api('guard($1)'), [secret]);
	await ask(login, 'ROLLBACK', []);
	// what the server's log says of a role names token and row
	for (const [change, back] of [['BYPASSRLS', 'NOBYPASSRLS'], ['SUPERUSER', 'NOSUPERUSER'], ['RENAME TO notes_renamed', '']]) {
		await sql(`ALTER ROLE notes_client ${change}`);
		await enter(env.NOTES_CLIENT);
		await send('GET', '/note', { apikey: env.NOTES_CLIENT }, undefined, env.NOTES_URL);
		await sql(back ? `ALTER ROLE notes_client ${back}` : 'ALTER ROLE notes_renamed RENAME TO notes_client');
	}
	await login.end();
	assert.equal((await send('GET', `/note?body=eq.${inNotes}`, { apikey: env.NOTES_CLIENT }, undefined, env.NOTES_SOCKET)).status, 200);
	await exchange(`GET /${inNotes} HTTP/1.1\r\n\r\n`, ['GET'], env.NOTES_URL);
	assert.ok([...kept.activity].some((row) => /guard/.test(row) && /notes_authenticator/.test(row)), 'pg_stat_activity was read while guard() ran');
});

// ---- A standby -------------------------------------------------------------------------------------------------------

const settingsOfPrimary = (await sql(`SELECT name || '=' || setting FROM pg_settings WHERE source = 'command line' AND name ~ '^(log_|debug_|auto_explain|pg_stat|track|shared_preload|wal_level)'`)).split('\n');
const onStandby = plant('a literal on the standby');
const standbyLog = path.join(data, 'log', 'standby.log');

await test('a standby of it validates', async () => {
	await sql('CHECKPOINT');
	await program('pg_basebackup', '-D', path.join(data, 'backup'), '-c', 'fast', '-X', 'stream', '--no-sync');
	await program('pg_basebackup', '-D', standby, '-c', 'fast', '-R', '--no-sync');
	await program('rm', '-rf', path.join(standby, 'log')); // those of the primary came along
	const options = ['listen_addresses=', 'port=5432', 'logging_collector=on', 'archive_mode=off', ...settingsOfPrimary].map((setting) => `-c ${setting}`).join(' ');
	await program('pg_ctl', '-D', standby, '-l', standbyLog, '-w', '-s', '-o', `-k ${process.env.STANDBY_RUN} ${options}`, 'start');
	const reader = await connect('leaks_app', { host: process.env.STANDBY_RUN });
	for (const secret of [env.ADMIN_TOKEN, mistype(env.ADMIN_TOKEN), unknown('an unknown secret on the standby')])
		await askInEachWay(reader, api('validate_api_token($1)'), secret);
	await ask(reader, api('create_api_token($1)'), [JSON.stringify({ type: 'client', tokenName: 'x', secret: unknown('on the standby') })]);
	await reader.end();
	const superuser = await connect(env.PGUSER, { host: process.env.STANDBY_RUN });
	await superuser.query(`SELECT '${onStandby}'`);
	await superuser.end();
});

// ---- Canaries, and what each measure is for --------------------------------------------------------------------------

// In the server's log by the superuser's hand; in pg_stat_activity by the name and the last statement of a session; in
// pg_stat_statements with the text of a utility statement; in WAL as a message.
const inLog = plant('a literal'), inActivity = plant('the name of a session'), inStatements = plant('a utility statement'), inWal = plant('a message in WAL');
await sql(`SELECT '${inLog}'`);
await sampleActivity();
await sql(`SET application_name = '${inActivity}'`);
await sampleActivity();
await sql(`DO $$ BEGIN PERFORM '${inStatements}'; END $$`);
await sql(`SELECT pg_logical_emit_message(true, 'leaks', '${inWal}')`);

const careless = {};
for (const [role, measure] of Object.entries(MEASURES)) {
	careless[role] = plant(`a parameter of ${role}`);
	const client = await connect(role);
	// the server breaks the lines of a plan: in one of these a piece of the key stands in one line
	for (let blanks = 0; blanks < 26; blanks++) await client.query('SELECT unleash_tokens.validate_api_token($1)', [' '.repeat(blanks) + careless[role]]);
	// fails behind its parameters
	await client.query('SELECT $1::text, 1 / $2::int', [careless[role], 0]).catch(() => {});
	await client.end();
}

const inPostgrest = plant('a URL of PostgREST'), inNginx = plant('a URL of the other nginx');
// a refusal would mask it as a whole
const pieces = (text) => text.replace(/.{13}$/, ' $&');
const inHeaders = plant('a parameter of a content type'), noted = plantText(env.ADMIN_TOKEN.match(SECRET)[3], 'a selector');
const inAnswer = plant('a type that is none'), inError = plant('a type that is none, by SQL');
await rest('GET', `/rpc/none?x=${inPostgrest}`, jwt());
await send('GET', `/health?${inNginx}`, {}, undefined, process.env.CARELESS_URL);
await exchange(`GET /${inNginx} HTTP/1.1\r\n\r\n`, ['GET'], process.env.CARELESS_URL); // without Host: told at the level "info"
// a method is of any capitals; the log names those of HTTP only
await send(know(randomKey(true), 'a key as the method of a request'), '/health');
assertStatus(await create(minimal(), keyed({ 'Content-Type': `application/json; x=${inHeaders}` })), 201);
await create(minimal({ type: pieces(inAnswer) }));
await ask(app, api('create_api_token($1)'), [JSON.stringify({ type: pieces(inError), tokenName: 'x' })]);
// PostgreSQL itself refuses such JSON and quotes what stands before the fault: the README says so
const inBadJson = plant('JSON that PostgreSQL cannot read');
await rest('POST', '/rpc/create_api_token', jwt(), `{"type":"client","tokenName":"${inBadJson}","x":"\\u0000"}`);
await ask(app, api('create_api_token($1)'), [`{"type":"client","tokenName":"${inBadJson}"`]);

// ---- What the server still tells ------------------------------------------------------------------------------------

await test('lists, views, statistics, dumps and decoded WAL are taken', async () => {
	kept.lists.push((await send('GET', TOKENS, keyed())).text, (await rest('GET', '/rpc/get_all_api_tokens', jwt())).text,
		(await rest('GET', '/api_tokens', jwt())).text, (await rest('GET', '/api_token_events', jwt())).text, (await rest('GET', '/stat', jwt())).text,
		await sql('SELECT api_token::text FROM unleash_tokens.api_token'));
	kept.witness = await sql('SELECT headers FROM public.witness');
	await sql('ANALYZE');
	const { rows: [{ pid }] } = await app.query('SELECT pg_backend_pid() AS pid');
	await sql(`SELECT pg_log_backend_memory_contexts(${pid})`);
	kept.statements = await sql('SELECT s::text FROM pg_stat_statements AS s');
	kept.views = '';
	for (const view of (await sql(`SELECT viewname FROM pg_views WHERE schemaname = 'pg_catalog' AND viewname ~ '^pg_(stat|prepared|cursors|locks|settings|backend_memory|replication)'`)).split('\n')) {
		kept.views += `${view}\n${await sql(`SELECT v::text FROM pg_catalog.${view} AS v`)}\n`;
		kept.viewCount = (kept.viewCount ?? 0) + 1;
	}
	kept.views += (await app.query('SELECT s::text FROM pg_prepared_statements AS s')).rows.map((row) => row.s).join('\n');
	await program('pg_dump', '-f', path.join(data, 'dump', 'plain.sql'));
	await program('pg_dump', '-Fc', '-Z0', '-f', path.join(data, 'dump', 'custom'));
	const end = await sql('SELECT pg_current_wal_insert_lsn()');
	kept.decoded = await program('pg_recvlogical', '-d', env.PGDATABASE, '-S', 'leaks', '--start', '--endpos', end, '-f', '-', '--no-loop', '-o', 'include-xids=1');
});

await test('everything stops cleanly', async () => {
	sampling = false;
	await sampler;
	await app.end();
	const lsn = await sql('SELECT pg_switch_wal()');
	await sql('CHECKPOINT');
	await poll('the standby has replayed it', 60000, async () =>
		(await sql(`SELECT bool_and(replay_lsn >= '${lsn}') FROM pg_stat_replication`)) === 't');
	await poll('the WAL was archived', 60000, async () => (await sql(`SELECT count(*) > 0 AND bool_and(last_archived_wal >= pg_walfile_name('${lsn}')) FROM pg_stat_archiver`)) === 't');
	await monitor.end();
	await program('pg_ctl', '-D', standby, '-m', 'fast', '-w', '-s', 'stop');
	const pid = Number(process.env.SERVE_PID);
	process.kill(pid, 'SIGTERM');
	await poll('bin/serve has ended', 60000, () => {
		try {
			return readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
		} catch {
			return true;
		}
	});
});

// ---- The searches ---------------------------------------------------------------------------------------------------

await test('control: the search finds a canary in each form, and base64 wherever in it the key begins', () => {
	const canary = plant('a text');
	for (const [form, write] of Object.entries(FORMS)) assert.ok(search(`some line ${write(Buffer.from(canary))} more`).canaries.get(canary)?.has(form), form);
	for (const kind of ['base64', 'base64url'])
		for (let shift = 0; shift < 3; shift++) assert.ok(search(Buffer.from(`${'-'.repeat(shift)}${canary}-`).toString(kind)).canaries.has(canary), `${kind} ${shift}`);
	assert.equal(search('some line').canaries.size, 0);
});

const total = { places: 0, bytes: 0, files: 0, canaries: 0 };
const mib = (bytes) => (bytes / 1048576).toFixed(1);

// what: a text, or the names of files and directories.  canaries: what must be found there.
async function searchPlace(where, what, ...canaries) {
	await test(`no secret in ${where}`, () => {
		const found = new Found();
		if (Array.isArray(what)) found.inFiles(...what);
		else found.in(Buffer.from(what), where);
		for (const canary of canaries) assert.ok(found.canaries.has(canary), `the canary is not in ${where} (${found.files} files, ${found.bytes} bytes)`);
		assert.ok(canaries.length > 0, 'no canary');
		total.places++;
		total.bytes += found.bytes;
		total.files += found.files;
		total.canaries += canaries.length;
		console.log(`    ${mib(found.bytes)} MiB, ${canaries.length} of ${canaries.length} canaries found`);
		assertAbsent(found);
	});
}

const ending = (dir, end) => filesOf(path.join(dir, 'log')).filter((file) => file.endsWith(end));
const everyCareless = Object.values(careless);
for (const [format, end] of [['stderr', '.log'], ['CSV', '.csv'], ['JSON', '.json']]) {
	await searchPlace(`the log of PostgreSQL (${format})`, ending(cluster, end), inLog, inError, inBadJson, ...everyCareless);
	await searchPlace(`the log of the standby (${format})`, ending(standby, end), onStandby);
}
await test('control: without one of the measures the log holds the parameter', () => {
	for (const [format, end] of [['stderr', '.log'], ['CSV', '.csv'], ['JSON', '.json']]) {
		const { canaries } = new Found().inFiles(...ending(cluster, end));
		for (const [role, form] of [['leaks_no_parameters', 'raw'], ['leaks_no_parameters_on_error', 'raw'], ['leaks_no_plan', 'raw'], ['leaks_no_plan', 'decimal bytes']])
			assert.ok(canaries.get(careless[role])?.has(form), `${format}: without ${MEASURES[role]} (${form})`);
	}
});
await searchPlace('pg_wal', [path.join(cluster, 'pg_wal')], inWal);
await searchPlace('the archived WAL', [path.join(data, 'archive')], inTuples, inWal);
await searchPlace('tables and indexes', [path.join(cluster, 'base')], inTuples);
await searchPlace('the statistics files of pg_stat_statements', [path.join(cluster, 'pg_stat', 'pg_stat_statements.stat')], inStatements);
await searchPlace('the notes of use', [path.join(cluster, 'pg_stat', 'unleash_tokens.notes')], noted);
await searchPlace('all of the data directory', [cluster], inTuples, inWal, inStatements);
await searchPlace('the base backup', [path.join(data, 'backup')], inTuples);
await searchPlace('all files of the standby', [standby], inTuples, inWal);
await searchPlace('the dump (plain)', [path.join(data, 'dump', 'plain.sql')], inTuples);
await searchPlace('the dump (custom)', [path.join(data, 'dump', 'custom')], inTuples);
await searchPlace('logical decoding', kept.decoded, inTuples, inWal);
await searchPlace('pg_stat_activity', [...kept.activity].join('\n'), inActivity, inLog);
await searchPlace('pg_stat_statements', kept.statements, inStatements);
await searchPlace(`${kept.viewCount} views of statistics and state`, kept.views, inTuples, inActivity);
await searchPlace('what a trigger sees of the request', kept.witness, inHeaders);
await searchPlace('lists, views and reports', kept.lists.join('\n'), inTuples);
await searchPlace('refusals over HTTP', kept.answers.join('\n'), inAnswer);
await searchPlace('errors and notices over SQL', kept.errors.join('\n'), inError, inBadJson);
await searchPlace('the access log of nginx', [path.join(data, 'log', 'nginx.access.log')], inNginx);
await searchPlace('the error log of nginx', [path.join(data, 'log', 'nginx.error.log')], inNginx);
await searchPlace('the log of PostgREST, which logs each URL', [path.join(data, 'log', 'postgrest.log')], inPostgrest);
await searchPlace('the log of the guarded API, with PostgREST that logs each URL', [path.join(data, 'log', 'example.log')], inNotes);
await searchPlace('what PostgreSQL and nginx said beside their logs', ending(data, '.log'), inPostgrest);

console.log(`figure: ${secretCount()} secrets, each in ${Object.keys(FORMS).length} forms, searched for in ${total.places} places: ${total.files} files and texts, ${mib(total.bytes)} MiB`);
console.log(`figure: ${total.canaries} of ${total.canaries} canaries found, of ${canaryCount()} planted; ${statements} statements with bind parameters, ${refusals} of them refused; ` +
	`${kept.answers.length} refusals over HTTP; pg_stat_activity read ${samples} times`);
finish();
