// What the tests of bad input share: connections, what the tables hold, what no answer may say, and arbitrary values.

import fc from 'fast-check';
import pg from 'pg';
import { readFileSync } from 'node:fs';
import path from 'node:path';

import { TOKENS, assert, env, logFile, root, utf8 } from '../http/lib.mjs';

export { fc };
export const SEED = 20261123;

// ---- Connections ----------------------------------------------------------------------------------------------------

const connections = [];

// As the superuser.  A connection that is lost fails the run, whatever it was doing: a backend has gone down.
export async function connect(database = env.PGDATABASE, options = {}) {
	const client = new pg.Client({ host: env.PGHOST, port: Number(env.PGPORT), user: env.PGUSER, database, ...options });
	const state = { client, closing: false };
	client.on('error', (error) => {
		if (!state.closing) console.log(`not ok - a connection was lost: ${error.message}\n0 passed, 1 failed`), process.exit(1);
	});
	await client.connect();
	connections.push(state);
	client.pid = Number((await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid);
	return client;
}

export async function disconnect(...clients) {
	for (const state of [...connections]) {
		if (clients.length > 0 && !clients.includes(state.client)) continue;
		connections.splice(connections.indexOf(state), 1);
		state.closing = true;
		await state.client.end();
	}
}

export const one = async (client, statement, values) =>
	Object.values((await client.query({ text: statement, values, rowMode: 'array' })).rows[0] ?? [])[0];

// A database of its own, with the extension in it.
export async function makeDatabase(name, encoding = 'UTF8') {
	const server = await connect('postgres');
	await server.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
	await server.query(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' LOCALE_PROVIDER libc LOCALE 'C'`);
	await disconnect(server);
	const client = await connect(name);
	await client.query('SET client_min_messages = warning; CREATE EXTENSION unleash_tokens; RESET client_min_messages');
	await client.query(readFileSync(path.join(root, 'http/roles.sql'), 'utf8'));
	return client;
}

export async function dropDatabase(name) {
	const server = await connect('postgres');
	await server.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
	await disconnect(server);
}

// ---- Nothing went down ----------------------------------------------------------------------------------------------

export async function serverState(client) {
	const started = await one(client, 'SELECT pg_postmaster_start_time()::text');
	return { started, log: readFileSync(logFile('postgresql'), 'latin1').length };
}

export async function assertServerSame(client, before) {
	assert.equal(await one(client, 'SELECT pg_postmaster_start_time()::text'), before.started, 'the server was started again');
	assert.equal(Number(await one(client, 'SELECT pg_backend_pid()')), client.pid, 'the backend is another one');
	const said = readFileSync(logFile('postgresql'), 'latin1').slice(before.log);
	const bad = said.match(/^.*(PANIC:|terminated by signal|TRAP:|was aborted by|server process \(PID|stack smashing|XX000).*$/m);
	assert.equal(bad, null, `the server's log says ${bad?.[0]}`);
}

// ---- What the tables hold -------------------------------------------------------------------------------------------

// One word for all rows of all tables.  seen_at and expiry_notice are left out: a worker writes them, at a time of its own.
export async function fingerprinter(client) {
	const { rows } = await client.query(`SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'unleash_tokens' AND c.relkind = 'r' AND c.relname <> 'expiry_notice' ORDER BY 1`);
	assert.ok(rows.length >= 6, 'fewer tables than there should be');
	const parts = rows.map(({ relname }) => relname === 'api_token'
		? `(SELECT string_agg((to_jsonb(t) - 'seen_at')::text, ',' ORDER BY t.selector) FROM unleash_tokens.api_token t)`
		: `(SELECT string_agg(t::text, ',' ORDER BY t::text) FROM unleash_tokens.${relname} t)`);
	const query = { name: 'fingerprint', text: `SELECT md5(concat_ws('|', ${parts.join(', ')}))`, rowMode: 'array' };
	return async () => (await client.query(query)).rows[0][0];
}

// ---- What no answer may say -----------------------------------------------------------------------------------------

const PART = 32; // so many characters of a key in a row are a leak
const parts = new Set();
export const secrets = [];

// Remember a secret, to be looked for in every answer from now on; and to be sent, unless it is the key that is needed.
export function know(secret, isSent = true) {
	if (isSent) secrets.push(secret);
	const key = secret.slice(-43);
	for (let at = 0; at + PART <= key.length; at++) parts.add(key.slice(at, at + PART));
	return secret;
}

export function leakIn(text) {
	for (const [word] of text.matchAll(/[A-Za-z0-9]{32,}/g))
		for (let at = 0; at + PART <= word.length; at++)
			if (parts.has(word.slice(at, at + PART))) return word;
	return null;
}

// Words of the insides: statements, functions and files of ours and of the server's, addresses, paths.
const INSIDES = new RegExp([
	String.raw`\b(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|RETURNING|WHERE)\b`, String.raw`\bSPI_\w+`, String.raw`\but_[a-z]+_\w+`,
	String.raw`\b(jsonb?_in|byteain|text_to_cstring|palloc|ereport|elog)\b`, String.raw`\b[a-z_]+\.(c|h|so|sql|conf|hs)\b`, String.raw`\bpg_[a-z_]+`,
	String.raw`\brest_(api|read)\b`, String.raw`\bcreate_api_token\b`, String.raw`/(usr|tmp|var|home|root|etc)/`, String.raw`\bPGRST\d+`, String.raw`\bSQLSTATE\b`,
	String.raw`\brelation "`, String.raw`\bverifier\b`, String.raw`\bnginx\b`, String.raw`\bPostgREST\b`, String.raw`\bstack depth\b`, String.raw`\b0x[0-9a-f]{6,}`,
].join('|'), 'g');

// What the client said itself may be said again.  sent: what was sent, as text.
export function insidesIn(text, sent) {
	for (const [word] of text.matchAll(INSIDES)) if (!sent.includes(word)) return word;
	return null;
}

// A refusal repeats no secret at all; an answer may give back the name that was chosen, or the secret it was asked about.
export function assertSaysNothing(text, sent, isRefusal = true) {
	const leak = leakIn(text);
	assert.ok(leak === null || (!isRefusal && sent.includes(leak)), `a secret is in the answer: ${text.slice(0, 400)}`);
	const inside = insidesIn(text, sent);
	assert.equal(inside, null, `${JSON.stringify(inside)} is in the answer: ${text.slice(0, 400)}`);
}

// At the end: no secret that this run saw is in a log.
export function assertLogsClean(names = ['postgresql', 'postgrest', 'nginx', 'nginx.access', 'nginx.error']) {
	let bytes = 0;
	for (const name of names) {
		let text;
		try {
			text = readFileSync(logFile(name), 'latin1');
		} catch (error) {
			if (error.code === 'ENOENT') continue;
			throw error;
		}
		bytes += text.length;
		for (const line of text.split('\n')) {
			const leak = leakIn(line);
			assert.equal(leak, null, `a secret is in the log ${name}: ${line.slice(0, 300)}`);
		}
	}
	return bytes;
}

// ---- The documented refusals ----------------------------------------------------------------------------------------

// The SQLSTATEs of doc/errors.md.
export const documentedStates = new Set(readFileSync(path.join(root, 'doc/errors.md'), 'utf8').split('\n')
	.map((line) => line.match(/^\| \d{3} \| \w+ \| (\w{5}) \|/)?.[1]).filter(Boolean));

// ---- Arbitrary values -----------------------------------------------------------------------------------------------

export const attackNames = JSON.parse(readFileSync(path.join(root, 't/attack/names.json'), 'utf8'));

// A secret, whole or damaged, with something before or behind it.
export const anySecret = fc.tuple(
	fc.nat(), fc.constantFrom('whole', 'whole', 'key', 'tail', 'changed', 'cut', 'before', 'behind', 'v1', 'selector', 'blank'), fc.nat(112), fc.string({ maxLength: 6 }),
).map(([which, how, at, text]) => {
	const secret = secrets[which % secrets.length];
	switch (how) {
		case 'key': return secret.slice(-43);
		case 'tail': return secret.slice(-69);
		case 'selector': return secret.slice(-66, -44);
		case 'changed': return secret.slice(0, at) + (text[0] ?? '0') + secret.slice(at + 1);
		case 'cut': return secret.slice(0, at);
		case 'before': return text + secret;
		case 'behind': return secret + text;
		case 'blank': return `${secret.slice(0, at)} ${secret.slice(at)}`;
		case 'v1': return `default:development.${Buffer.from(secret).toString('hex').slice(0, 56)}`;
		default: return secret;
	}
});

export const anyText = fc.oneof(
	{ weight: 4, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
	{ weight: 2, arbitrary: fc.string({ maxLength: 40 }) },
	{ weight: 3, arbitrary: fc.constantFrom(...attackNames) },
	{ weight: 3, arbitrary: anySecret },
	{ weight: 1, arbitrary: fc.tuple(fc.string({ unit: 'binary', minLength: 1, maxLength: 3 }), fc.nat(1200)).map(([text, n]) => text.repeat(n)) },
	{ weight: 1, arbitrary: fc.constantFrom('', ' ', '*', '[]', 'null', 'true', '0', '-0', '1e999', 'NaN', '\ud800', '\udfff', '\ufeff', '\u0000', '\uffff') },
);

const anyTime = fc.oneof(
	fc.date({ noInvalidDate: true }).map((date) => date.toISOString()), anyText,
	fc.constantFrom('infinity', '-infinity', 'now', 'epoch', '0000-01-01T00:00:00Z', '9999-12-31T23:59:59.999Z', '294276-12-31T23:59:59Z', '2031-02-30T00:00:00Z',
		'2031-01-01T24:00:00Z', '2016-12-31T23:59:60Z', '2031-01-01T00:00:00+99:99', '0000-01-01T00:00:00+23:59', '9999-12-31T23:59:59-23:59', '4714-11-24T00:00:00 BC'),
);

const scalar = fc.oneof(anyText, fc.constant(null), fc.boolean(), fc.double({ noNaN: true }), fc.integer(), fc.constantFrom([], {}, [[]], [{}], { a: 1 }));
const usually = (value, otherwise) => fc.oneof({ weight: 5, arbitrary: value }, { weight: 2, arbitrary: otherwise });

// An object much like what create takes.
export const nearToken = fc.record({
	type: usually(fc.constantFrom('client', 'client', 'backend', 'frontend', 'admin', 'ADMIN', 'Client', 'client '), scalar),
	tokenName: usually(anyText, scalar),
	environment: usually(fc.constantFrom('development', 'production', '*', 'default', 'DEVELOPMENT'), scalar),
	project: usually(fc.constantFrom('default', '*', '[]', 'nope'), scalar),
	projects: usually(fc.oneof(fc.array(fc.constantFrom('default', '*', 'nope'), { maxLength: 4 }), fc.array(scalar, { maxLength: 4 })), scalar),
	expiresAt: usually(anyTime, scalar),
	secret: anySecret,
	selector: anyText,
	createdAt: anyTime,
	tokens: fc.oneof(fc.array(fc.oneof(anySecret, scalar), { maxLength: 5 }), scalar),
}, { requiredKeys: [] }).chain((object) => fc.subarray(Object.keys(object)).map((dropped) => {
	// most have what is required, and not both of project and projects
	const kept = { type: 'client', tokenName: 'n', ...object };
	for (const key of dropped) delete kept[key];
	return kept;
}));

const spoil = (text) => fc.tuple(fc.nat(), fc.constantFrom('cut', 'insert', 'replace', 'twice', 'append', 'none', 'none', 'none'),
	fc.constantFrom('"', '\\', '{', '}', '[', ',', ':', '\u0000', '\\u0000', '\\ud800', '\\', '/*', '1e', '-', '\ufeff', '\r\n', '\x1b')).map(([at, how, piece]) => {
	const i = at % (text.length + 1);
	switch (how) {
		case 'cut': return text.slice(0, i);
		case 'insert': return text.slice(0, i) + piece + text.slice(i);
		case 'replace': return text.slice(0, i) + piece + text.slice(i + 1);
		case 'twice': return text.startsWith('{') ? `${text.slice(0, -1)}${text === '{}' ? '' : ','}${text.slice(1)}` : text + text;
		case 'append': return text + piece;
		default: return text;
	}
});

export const nearJson = nearToken.map((object) => JSON.stringify(object)).chain(spoil);
export const anyJson = fc.oneof(
	fc.json({ maxDepth: 4 }), fc.json({ maxDepth: 2, stringUnit: 'binary' }), fc.json({ maxDepth: 3 }).chain(spoil), fc.string({ unit: 'binary', maxLength: 60 }),
	fc.constantFrom('', ' ', '{}', '[]', 'null', '"', '{"', '{"a":', '[1,', 'nul', '1e100000', '-', '{"a":1e-999999}', '{"":""}', '{"\\u0000":1}', '"\\ud800"', '{"a":"\\u0000"}',
		'[{"tokens":[]}]', '{"tokens":{}}', '{"tokens":[null]}'),
);
export const anyBytes = fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes));

// Percent-encoded, an unpaired surrogate too.
export const escaped = (text) => [...utf8(text)].map((byte) => (/[A-Za-z0-9._-]/.test(String.fromCharCode(byte))
	? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)).join('');

export const anyPath = fc.oneof(
	{ weight: 4, arbitrary: fc.constantFrom(TOKENS, TOKENS, TOKENS, `${TOKENS}/`, '/edge/validate', '/auth', '/health', '/metrics', '/', '/api', '/rpc/rest_api', '/docs/openapi.json', '/-read', '/-write', '/-refusal') },
	{ weight: 3, arbitrary: anyText.map((text) => `${TOKENS}/${escaped(text)}`) },
	{ weight: 1, arbitrary: anyText.map((text) => `${TOKENS}/${text}`) },
	{ weight: 1, arbitrary: fc.tuple(fc.constantFrom('type', 'project', 'environment', 'x'), anyText).map(([name, text]) => `/auth?${name}=${escaped(text)}`) },
	{ weight: 1, arbitrary: fc.string({ maxLength: 30 }).map((text) => `/${text}`) },
);
export const anyMethod = fc.oneof(
	{ weight: 8, arbitrary: fc.constantFrom('POST', 'POST', 'POST', 'GET', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH') },
	{ weight: 1, arbitrary: fc.constantFrom('TRACE', 'CONNECT', 'PROPFIND', 'get', 'POSTX', 'A', 'X'.repeat(200)) },
	{ weight: 1, arbitrary: fc.stringMatching(/^[A-Z_-]{1,12}$/) },
);
export const anyContentType = fc.oneof(
	{ weight: 6, arbitrary: fc.constantFrom('application/json', 'application/json', 'application/json; charset=utf-8', 'Application/JSON') },
	{ weight: 2, arbitrary: fc.constantFrom('', 'text/plain', 'application/json; charset=latin1', 'application/json;', 'application/jsonx', 'application/json; charset="utf-8"', 'multipart/form-data; boundary=x',
		'application/x-www-form-urlencoded', 'application/json, text/plain', 'application/merge-patch+json', 'application/json; charset=utf-16') },
	{ weight: 1, arbitrary: anyText },
);
export const anyEncoding = fc.oneof({ weight: 6, arbitrary: fc.constant(undefined) }, fc.constantFrom('identity', '', 'gzip', 'br', 'deflate', 'identity, gzip', 'x'), anyText);

const readable = (value) => Buffer.isBuffer(value) ? value.toString('latin1') : Array.isArray(value) ? value.map(readable)
	: value !== null && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([name, part]) => [name, readable(part)])) : value;

// Tries so many cases and says how many; of the first that fails, what was wrong with it, without the secrets in it.
export async function tryAll(cases, arbitrary, check) {
	let tried = 0, wrong;
	const property = fc.asyncProperty(arbitrary, async (value) => {
		tried++;
		await check(value).catch((error) => {
			wrong = error;
			throw error;
		});
	});
	const found = await fc.check(property, { numRuns: cases, seed: SEED, endOnFailure: true });
	if (!found.failed) return tried;
	const text = `case ${tried}: ${fc.stringify(readable(found.counterexample))}\n${wrong?.message}\n${wrong?.stack?.match(/t\/attack\/(?!lib)\w+\.mjs:\d+/)?.[0] ?? wrong?.stack}`;
	throw new assert.AssertionError({ message: text.replace(/[A-Za-z0-9_]{32,}/g, (word) => (leakIn(word) ? '***' : word)) });
}

// What nginx makes of what an entry of the REST door sets: 503 of 500, and no header by which it knows a refusal.
export const atGateway = (status, list) => ({ status: Number(status) === 500 ? 503 : Number(status),
	headers: JSON.parse(list).flatMap((header) => Object.entries(header)).filter(([name]) => name !== 'X-Refusal') });
