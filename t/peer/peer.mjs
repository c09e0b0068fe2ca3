// The same calls to a real Unleash and to this; and the move from one to the other, as doc/migrating.md says.
// Started by t/peer/run, which brings the two Unleash servers up: v1 with secrets as they are, v2 with hashed ones.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import Ajv from 'ajv';
import addFormats from 'ajv-formats';
import openapiTS, { astToString } from 'openapi-typescript';
import { ALLOWED } from './allowed.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, '../..');
const work = process.env.PEER_WORK;
const env = Object.fromEntries(readFileSync(process.argv[2], 'utf8').split('\n')
	.map((line) => line.match(/^(?:export )?(\w+)='(.*)'$/)).filter(Boolean).map(([, key, value]) => [key, value]));
const OURS = { url: env.BASE_URL, key: env.ADMIN_TOKEN, db: `host=${env.PGHOST} port=${env.PGPORT} dbname=${env.PGDATABASE} user=${env.PGUSER}` };
const unleash = (name, url) => ({ url, key: process.env.UNLEASH_ADMIN, db: `host=${process.env.UNLEASH_PG} port=5432 dbname=${name} user=postgres` });
const V1 = unleash('v1', process.env.UNLEASH_V1);
const V2 = unleash('v2', process.env.UNLEASH_V2);
const TOKENS = '/api/admin/api-tokens';
const run = `peer ${Date.now().toString(36)}`;

// ---- Counting -------------------------------------------------------------------------------------------------------

const counts = { passed: 0, failed: 0 };

async function test(name, body) {
	try {
		await body();
		counts.passed++;
		console.log(`ok - ${name}`);
	} catch (error) {
		counts.failed++;
		console.log(`not ok - ${name}`);
		console.log(String(error?.code === 'ERR_ASSERTION' ? error.message : error?.stack ?? error).replace(/^/gm, '    '));
	}
}

// psql is waited for with the event loop standing still, and a server may hang up meanwhile: what then fails was never read
// and is sent again, on another connection.
const fetchOnce = globalThis.fetch;
globalThis.fetch = async (what, options) => {
	const again = what instanceof Request ? what.clone() : what;
	try {
		return await fetchOnce(what, options);
	} catch (error) {
		if (!['EPIPE', 'ECONNRESET', 'UND_ERR_SOCKET'].includes(error.cause?.code)) throw error;
		return fetchOnce(again, options);
	}
};

// ---- The servers ------------------------------------------------------------------------------------------------------

function sql({ db }, text) {
	const result = spawnSync('psql', ['-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', db], { input: text, encoding: 'utf8' });
	assert.equal(result.status, 0, `psql: ${result.stderr}`);
	return result.stdout.trim();
}

async function call({ url, key }, method, target, body, headers = { Authorization: key }) {
	const response = await fetch(url + target, { method, headers: { ...headers, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
		body: body === undefined ? undefined : JSON.stringify(body) });
	const text = await response.text();
	return { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) };
}

async function create(server, body) {
	const answer = await call(server, 'POST', TOKENS, body);
	assert.equal(answer.status, 201, JSON.stringify(answer.body));
	return answer.body;
}

// secret -> what /edge/validate says of it
async function validate(server, secrets) {
	const { body } = await call(server, 'POST', '/edge/validate', { tokens: secrets }, {});
	return new Map(body.tokens.map(({ token, ...rest }) => [token, rest]));
}

const PROJECTS = ['alpha', 'beta', 'Weird Id:x.y', "o'neil \\ %L"];
const ENVIRONMENTS = [['dot.env:x', 'test', true], ['disabled-env', 'test', false]];

function fillUnleash(server) {
	const quote = (value) => `'${String(value).replaceAll("'", "''")}'`;
	for (const id of PROJECTS) sql(server, `INSERT INTO projects (id, name) VALUES (${quote(id)}, ${quote(id)}) ON CONFLICT DO NOTHING`);
	for (const [name, type, enabled] of ENVIRONMENTS)
		sql(server, `INSERT INTO environments (name, type, enabled) VALUES (${[name, type, enabled].map(quote)}) ON CONFLICT DO NOTHING`);
}

// ---- The blocks of doc/migrating.md ------------------------------------------------------------------------------------

const page = readFileSync(path.join(root, 'doc/migrating.md'), 'utf8');
const blocks = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, text]) => text);

// The block that holds these words, as it stands there.
function block(words) {
	const found = blocks.filter((text) => text.includes(words));
	assert.equal(found.length, 1, `doc/migrating.md has ${found.length} blocks with ${words}`);
	tried.add(found[0]);
	return found[0];
}
const tried = new Set();

// Runs it as its reader would, in a directory for this server.
function migrate(server, words) {
	const { text, result } = attempt(server, words);
	assert.equal(result.status, 0, `${text}\n${result.stdout}${result.stderr}`);
	return result.stdout;
}

function attempt(server, words) {
	const dir = path.join(work, new URL(server.url).port);
	mkdirSync(dir, { recursive: true });
	// where this is not run as root, the database's user is the one who runs it
	const text = block(words).replace('-o postgres', process.getuid() === 0 ? '-o postgres' : '');
	const result = spawnSync('bash', ['-eu', '-o', 'pipefail'], { cwd: dir, input: text, encoding: 'utf8',
		env: { ...process.env, UNLEASH: server.url, UNLEASH_KEY: server.key, UNLEASH_DB: server.db, DB: OURS.db, API: OURS.url, API_KEY: OURS.key,
			SERVER_FILE: path.join(env.PGHOST, 'peer-tokens.json'), PGRST_SOCKET: env.PGRST_SOCKET, SQL_JWT: env.SQL_JWT } });
	return { text, result };
}

const reports = (text) => text.trim().split(/\n(?=\{)/).map((part) => JSON.parse(part));

// ---- A typed client ----------------------------------------------------------------------------------------------------

let typedClient, unleashDocument;

async function makeClient() {
	unleashDocument = await (await fetch(`${V1.url}/docs/openapi.json`)).json();
	const dir = path.join(work, 'client');
	mkdirSync(dir);
	writeFileSync(path.join(dir, 'package.json'), '{"type": "module"}');
	writeFileSync(path.join(dir, 'unleash.d.ts'), astToString(await openapiTS(structuredClone(unleashDocument))));
	copyFileSync(path.join(here, 'client.ts'), path.join(dir, 'client.ts'));
	symlinkSync(path.join(here, 'node_modules'), path.join(dir, 'node_modules'));
	const tsc = spawnSync(process.execPath, [path.join(here, 'node_modules/typescript/bin/tsc'), '--strict', '--target', 'es2022',
		'--module', 'nodenext', '--lib', 'es2022,dom,dom.iterable', '--outDir', 'out', 'client.ts'], { cwd: dir, encoding: 'utf8' });
	assert.equal(tsc.status, 0, tsc.stdout);
	typedClient = await import(path.join(dir, 'out/client.js'));
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

// What differs between any two runs becomes a word; a secret keeps what stands before its chance.
function plain(key, value, name) {
	if (key === 'id' && UUID.test(value)) return '<uuid>';
	if (key === 'createdAt' && TIME.test(value)) return '<time>';
	if (key === 'secret' || key === 'token') {
		return value.replace(/\.([0-9a-f]{56}|v2_[\w-]{22}_[\w-]{43})$/, '.<key>').replace(/^[\w-]{22}$/, '<selector>');
	}
	return typeof value === 'string' ? value.replaceAll(name, '<run>') : value;
}

// One entry for each leaf: "create | body.type" -> "frontend".  Tokens go by name, since what one server refuses the other
// may have made.
function leaves(steps, name) {
	const found = new Map();
	const visit = (at, key, value) => {
		if (Array.isArray(value) && key === 'tokens') {
			found.set(`${at}.length`, value.length);
			for (const token of value) visit(`${at}[${plain('', token.tokenName ?? plain('token', token.token, name), name)}]`, '', token);
		} else if (value !== null && typeof value === 'object' && key !== 'projects') {
			for (const [inner, part] of Object.entries(value)) visit(`${at}.${inner}`, inner, part);
		} else found.set(at, plain(key, Array.isArray(value) ? value.join() : value, name));
	};
	for (const { step, status, headers, body } of steps) {
		found.set(`${step} | status`, status);
		visit(`${step} | headers`, 'headers', headers);
		visit(`${step} | body`, 'body', body);
	}
	return found;
}

const fits = (wanted, value) => wanted === undefined || (wanted instanceof RegExp ? wanted.test(String(value)) : wanted === value);

// Every leaf that is not the same must be allowed by a row of doc/differences.md.
function compare(theirs, ours) {
	const problems = [];
	for (const at of new Set([...theirs.keys(), ...ours.keys()])) {
		const [there, here] = [theirs.get(at) ?? null, ours.get(at) ?? null];
		const both = theirs.has(at) && ours.has(at);
		if (both && there === here) continue;
		const rule = ALLOWED.find((allowed) => allowed.at.test(at) && fits(allowed.unleash, theirs.has(at) ? there : 'absent') && fits(allowed.ours, ours.has(at) ? here : 'absent'));
		if (rule) used.add(rule);
		else problems.push(`${at}: Unleash ${theirs.has(at) ? JSON.stringify(there) : 'absent'}, here ${ours.has(at) ? JSON.stringify(here) : 'absent'}`);
	}
	return problems;
}
const used = new Set();

const rowKeys = () => [...readFileSync(path.join(root, 'doc/differences.md'), 'utf8').matchAll(/^### ([a-z-]+)$/gm)].map(([, key]) => key);

async function testClient() {
	await test('a client made from the document of the real server can be compiled', makeClient);
	if (!typedClient) return;
	const ours = await typedClient.run(OURS.url, OURS.key, `${run} ours`);
	for (const [name, server] of [['v1', V1], ['v2', V2]]) {
		await test(`its calls have the same answers as those of Unleash (${name} secrets), but for doc/differences.md`, async () => {
			const theirs = await typedClient.run(server.url, server.key, `${run} ${name}`);
			assert.ok(theirs.length > 30);
			assert.deepEqual(compare(leaves(theirs, `${run} ${name}`), leaves(ours, `${run} ours`)), []);
		});
	}
	await test('no allowed difference is unused, and each is a row of doc/differences.md', () => {
		assert.deepEqual(ALLOWED.filter((rule) => !used.has(rule)).map(({ key, at }) => `${key} ${at}`), []);
		const keys = rowKeys();
		assert.equal(new Set(keys).size, keys.length, 'a key is there twice');
		assert.deepEqual(ALLOWED.filter(({ key }) => !keys.includes(key)).map(({ key }) => key), []);
	});
	await test('our good answers are valid by the document of the real server', () => {
		const ajv = new Ajv({ strict: false, allErrors: true });
		addFormats(ajv);
		ajv.addSchema({ $id: 'unleash', components: unleashDocument.components });
		let count = 0;
		for (const { step, status, body } of ours) {
			if (status >= 300 || body === null) continue;
			const schema = status === 201 ? 'apiTokenSchema' : step.startsWith('validate') ? 'validatedEdgeTokensSchema' : 'apiTokensSchema';
			const check = ajv.getSchema(`unleash#/components/schemas/${schema}`);
			assert.ok(check(body), `${step}: ${JSON.stringify(check.errors)}`);
			count++;
		}
		assert.ok(count > 10);
	});
}

// ---- The move ----------------------------------------------------------------------------------------------------------

// Each type with each kind of scope, each environment, with and without an expiry.
async function makeMix(server) {
	const made = [];
	const scopes = [undefined, ['alpha'], ['beta', 'alpha'], ['Weird Id:x.y'], ["o'neil \\ %L", 'default']];
	const environments = [undefined, 'production', 'dot.env:x', 'disabled-env'];
	let i = 0;
	for (const type of ['client', 'backend', 'frontend']) {
		for (const projects of scopes) {
			const environment = environments[i % environments.length];
			const expiresAt = i % 3 === 0 ? '2999-12-31T23:59:59.999Z' : undefined;
			made.push(await create(server, { type, tokenName: `${run} ${i++} ü"\\`, projects, environment, expiresAt }));
		}
	}
	const born = await create(server, { type: 'client', tokenName: `${run} expired`, expiresAt: '2020-01-01T00:00:00Z' });
	return { made, secrets: made.map(({ secret }) => secret), expired: born.secret };
}

// What the store holds of everything, with the transactions that wrote it: equal means that no row was changed.
const stored = () => sql(OURS, ['api_token', 'api_token_project', 'api_token_event', 'project', 'environment']
	.map((table) => `SELECT '${table}', count(*), md5(string_agg(t::text || xmin, '' ORDER BY t::text)) FROM unleash_tokens.${table} t;`).join('\n'));

const kind = (type) => (type === 'backend' ? 'client' : type);

// Every secret is valid here, for what it was made for there; order of projects counts where Unleash keeps one.
async function assertSame({ made, secrets, expired }, ordered) {
	const known = await validate(OURS, [...secrets, expired]);
	assert.equal(known.has(expired), false, 'the expired one is valid');
	for (const token of made) {
		const found = known.get(token.secret);
		assert.ok(found, `the secret of ${JSON.stringify(token.tokenName)} is not valid here`);
		assert.equal(found.type, kind(token.type), token.tokenName);
		assert.equal(found.environment, token.environment, token.tokenName);
		const order = (list) => (ordered ? list : [...list].sort());
		assert.deepEqual(order(found.projects), order(token.projects), token.tokenName);
	}
}

async function testImport() {
	fillUnleash(V1);
	const mix = await makeMix(V1);
	await test('projects and environments come over', () => {
		migrate(V1, 'FROM projects');
		const have = sql(OURS, `SELECT id FROM unleash_tokens.project`).split('\n');
		assert.deepEqual(PROJECTS.filter((id) => !have.includes(id)), []);
		assert.equal(sql(OURS, `SELECT type, enabled FROM unleash_tokens.environment WHERE name = 'disabled-env'`), 'test|f');
	});
	await test('a token that lost its project is shown, and only that', async () => {
		sql(V1, `INSERT INTO projects (id, name) VALUES ('doomed', 'doomed') ON CONFLICT DO NOTHING`);
		const { secret } = await create(V1, { type: 'client', tokenName: `${run} orphan`, projects: ['doomed'] });
		sql(V1, `DELETE FROM projects WHERE id = 'doomed'`);
		const shown = migrate(V1, 'AS begins');
		assert.match(shown, /orphan *\| doomed:development\s*\n\(1 row\)/);
		await call(V1, 'DELETE', `${TOKENS}/${encodeURIComponent(secret)}`);
	});
	const alias = `${run} alias`;
	sql(V1, `UPDATE api_tokens SET alias = '${alias}' WHERE token_name LIKE '${run} 10 %'`);
	await test('the list of Unleash is imported', () => {
		migrate(V1, '-o tokens.json');
		const [report] = reports(migrate(V1, 'for file in'));
		const count = JSON.parse(readFileSync(path.join(work, new URL(V1.url).port, 'tokens.json'))).tokens.length;
		assert.ok(count > mix.made.length);
		assert.deepEqual(report.refused, []);
		assert.equal(report.imported, count);
		assert.equal(report.unchanged, 0);
	});
	await test('names and times are the same', async () => {
		const listed = (await call(V1, 'GET', TOKENS)).body.tokens.filter(({ tokenName }) => tokenName.startsWith(run));
		const shown = new Map((await call(OURS, 'GET', TOKENS)).body.tokens.map((token) => [token.tokenName, token]));
		for (const { tokenName, createdAt, expiresAt, seenAt, alias, type } of listed) {
			const { createdAt: c, expiresAt: e, seenAt: s, alias: a, type: t } = shown.get(tokenName) ?? {};
			if (/ours| v1| v2/.test(tokenName)) continue;
			assert.deepEqual([c, e, s, a, t], [createdAt, expiresAt, seenAt, alias, type], tokenName);
		}
	});
	await test('every secret is valid here with the same type, projects and environment', () => assertSame(mix, true));
	await test('and for the same as Unleash itself says', async () => {
		const [there, here] = [await validate(V1, mix.secrets), await validate(OURS, mix.secrets)];
		assert.deepEqual(here, there);
	});
	await test('an alias is kept and is no credential', async () => {
		assert.equal(sql(OURS, `SELECT count(*) FROM unleash_tokens.api_tokens WHERE alias = '${alias}'`), '1');
		assert.equal((await validate(OURS, [alias])).size, 0);
	});
	await test('the admin token of Unleash opens this too', async () => {
		assert.equal((await call({ ...OURS, key: V1.key }, 'GET', TOKENS)).status, 200);
	});
	await test('a second run changes 0 rows', () => {
		const before = stored();
		const [report] = reports(migrate(V1, 'for file in'));
		assert.equal(report.imported, 0);
		assert.ok(report.unchanged > mix.made.length);
		assert.equal(stored(), before);
	});
	await test('so does a third one through PostgREST', () => {
		const before = stored();
		assert.equal(JSON.parse(migrate(V1, '/rpc/import_api_tokens')).imported, 0);
		assert.equal(stored(), before);
	});
	await test('what is not valid here is told', () => {
		assert.match(migrate(V1, 'validate_api_token(e'), new RegExp(`^${run} expired\\|2020-01-01T00:00:00.000Z$`, 'm'));
	});
	await test('no secret is in the database', () => {
		const tables = sql(OURS, `SELECT count(*) FROM unleash_tokens.api_token t, unleash_tokens.api_token_event e
			WHERE ${mix.secrets.map((secret) => `strpos(t::text || e::text, '${secret.split('.').pop()}') > 0`).join(' OR ')}`);
		assert.equal(tables, '0');
	});
	return mix;
}

async function testRunningBoth(mix) {
	await test('tokens made, changed and deleted in Unleash after the export come over', async () => {
		const { secret: late } = await create(V1, { type: 'frontend', tokenName: `${run} late`, projects: ['beta'] });
		const [gone, changed] = mix.secrets;
		await call(V1, 'DELETE', `${TOKENS}/${encodeURIComponent(gone)}`);
		await call(V1, 'PUT', `${TOKENS}/${encodeURIComponent(changed)}`, { expiresAt: '2020-02-02T02:02:02.020Z' });
		assert.deepEqual([...(await validate(OURS, [late, gone, changed])).keys()], [gone, changed]);
		migrate(V1, '-o tokens.json');
		assert.equal(reports(migrate(V1, 'for file in'))[0].imported, 1);
		const others = sql(OURS, `SELECT count(*) FROM unleash_tokens.api_token WHERE NOT by_verifier`);
		const told = migrate(V1, 'CREATE TEMP TABLE there');
		assert.match(told, /^deleted\|.* 0 ü.*\|t$/m);
		assert.match(told, /^changed\|.* 1 ü.*\|2020-02-02T02:02:02.020Z$/m);
		assert.deepEqual([...(await validate(OURS, [late, gone, changed])).keys()], [late]);
		assert.equal(sql(OURS, `SELECT count(*) FROM unleash_tokens.api_token WHERE NOT by_verifier`), others);
		assert.equal(migrate(V1, 'CREATE TEMP TABLE there').trim(), '', 'a second time it finds more');
	});
}

async function testImportHashed() {
	fillUnleash(V2);
	const mix = await makeMix(V2);
	await test('hashed tokens are refused by the list, and come over by selector and verifier', async () => {
		migrate(V2, '-o tokens.json');
		migrate(V2, '-o tokens-v2.json');
		const [list, rows] = reports(migrate(V2, 'for file in'));
		const own = (entries) => entries.filter(({ tokenName }) => tokenName.startsWith(run) && !/v2/.test(tokenName));
		assert.equal(own(list.refused).length, mix.made.length + 1);
		assert.ok(list.refused.every(({ reason }) => reason.includes('only its selector is known')), JSON.stringify(list.refused[0]));
		assert.deepEqual(rows.refused, []);
		assert.ok(rows.imported >= mix.made.length + 1);
	});
	await test('every hashed secret is valid here with the same type, projects and environment', () => assertSame(mix, false));
	await test('a second run of these changes 0 rows too', () => {
		const before = stored();
		for (const report of reports(migrate(V2, 'for file in'))) assert.equal(report.imported, 0);
		assert.equal(stored(), before);
	});
}

// What Unleash overshoots when many ask at once.
async function testLimit() {
	await test('twenty sessions at once make exactly as many tokens as allowed', async () => {
		const limit = Number(sql(OURS, 'SELECT count(*) + 7 FROM unleash_tokens.api_token'));
		const made = `SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "${run} limit"}') IS NOT NULL;`;
		const sessions = Array.from({ length: 20 }, () => new Promise((resolve) => {
			const psql = spawn('psql', ['-XqAt', '-d', OURS.db], { stdio: ['pipe', 'ignore', 'ignore'] }).on('close', resolve);
			psql.stdin.end(`SET unleash_tokens.max_tokens = ${limit};${made.repeat(3)}`);
		}));
		await Promise.all(sessions);
		assert.equal(sql(OURS, `SELECT count(*) FROM unleash_tokens.api_token WHERE token_name = '${run} limit'`), '7');
	});
}

async function testBackOut() {
	let here;
	await test('a token is made here after the move', () => {
		here = JSON.parse(migrate(V1, 'made after the move'));
		assert.match(here.secret, /^\*:development\.v2_utok/);
	});
	await test('what was deleted and changed here is told', () => assert.match(migrate(V1, "type <> 'api-token-created'"), /api-token-deleted/));
	await test('the way back stops at a project that is not there, and nothing went', async () => {
		sql(OURS, `INSERT INTO unleash_tokens.project (id) VALUES ('${run}')`);
		await create(OURS, { type: 'client', tokenName: `${run} new project`, project: run });
		const { result } = attempt(V1, 'INSERT INTO api_tokens_v2');
		assert.match(result.stderr, /violates foreign key constraint/);
		assert.equal(sql(V1, `SELECT count(*) FROM api_tokens_v2 WHERE token_name LIKE '${run}%'`), '0');
	});
	await test('tokens made here are valid in Unleash after the way back', async () => {
		// what the reader does by hand; other suites may have left projects of theirs
		for (const id of sql(OURS, 'SELECT id FROM unleash_tokens.project').split('\n')) PROJECTS.push(id);
		for (const line of sql(OURS, 'SELECT name FROM unleash_tokens.environment').split('\n')) ENVIRONMENTS.push([line, 'test', true]);
		fillUnleash(V1);
		const scoped = await create(OURS, { type: 'backend', tokenName: `${run} back`, projects: ['beta', 'alpha'], environment: 'production' });
		const born = await create(OURS, { type: 'client', tokenName: `${run} back expired`, expiresAt: '2020-01-01T00:00:00Z' });
		const admin = await create(OURS, { type: 'admin', tokenName: `${run} back admin` });
		migrate(V1, 'INSERT INTO api_tokens_v2');
		const known = await validate(V1, [here.secret, scoped.secret, born.secret, admin.secret]);
		assert.deepEqual([...known.keys()].sort(), [here.secret, scoped.secret].sort());
		const { environment, projects } = known.get(scoped.secret);
		assert.deepEqual([environment, projects.sort()], ['production', ['alpha', 'beta']]);
		assert.equal((await call({ ...V1, key: scoped.secret }, 'GET', '/api/client/features')).status, 200);
		await call(OURS, 'DELETE', `${TOKENS}/${admin.secret}`);
	});
}

function cleanUp() {
	sql(OURS, `DELETE FROM unleash_tokens.api_token WHERE token_name LIKE '${run}%' OR token_name = 'made after the move' OR by_verifier;
		DELETE FROM unleash_tokens.project WHERE id = '${run}'`);
}

try {
	fillUnleash(V1);
	fillUnleash(V2);
	await test('projects and environments for the client', () => migrate(V1, 'FROM projects'));
	await testClient();
	const mix = await testImport();
	await testRunningBoth(mix);
	await testImportHashed();
	await testBackOut();
	await testLimit();
	await test('every block of doc/migrating.md was tried', () => assert.deepEqual(blocks.filter((text) => !tried.has(text)), []));
} finally {
	cleanUp();
}
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;
