// What the HTTP tests share: a counting harness, an HTTP client that sends and reads bytes as they are, and the database.
//
// Where the servers are is read from $SERVE_DIR/env (default .serve), which bin/serve writes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import zlib from 'node:zlib';

export { assert };

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const serveDir = path.resolve(process.env.SERVE_DIR ?? path.join(root, '.serve'));
export const TOKENS = '/api/admin/api-tokens';
// one word for everything this run makes, so that kept data of other runs does not matter
export const run = `t${Date.now().toString(36)}${Math.floor(Math.random() * 1e6).toString(36)}`;

// ---- Counting -------------------------------------------------------------------------------------------------------

const counts = { passed: 0, failed: 0, skipped: 0 };
// a regular expression: only tests of such a name run
const only = process.env.TEST_ONLY && new RegExp(process.env.TEST_ONLY);

export async function test(name, body) {
	if (only && !only.test(name)) return;
	const start = Date.now();
	try {
		await body();
		counts.passed++;
		const ms = Date.now() - start;
		console.log(`ok - ${name}${ms > 2000 ? ` (${(ms / 1000).toFixed(1)} s)` : ''}`);
	} catch (error) {
		counts.failed++;
		console.log(`not ok - ${name}`);
		const text = error instanceof assert.AssertionError ? error.message : error?.stack ?? String(error);
		console.log(text.replace(/^/gm, '    '));
		const place = String(error?.stack).match(/t\/http\/(?!lib)[\w-]+\.mjs:\d+/);
		if (place) console.log(`    at ${place[0]}`);
	}
}

export function skip(name, why) {
	counts.skipped++;
	console.log(`skipped - ${name}: ${why}`);
}

export function finish() {
	const { passed, failed, skipped } = counts;
	console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`);
	process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

// Asks again until the answer is true, and gives it back; fails after so many milliseconds.
export async function poll(what, ms, ask) {
	const deadline = Date.now() + ms;
	let answer, problem;
	do {
		try {
			problem = undefined;
			if ((answer = await ask())) return answer;
		} catch (error) {
			problem = error;
		}
		await new Promise((resolve) => setTimeout(resolve, 50));
	} while (Date.now() < deadline);
	throw new Error(`not within ${ms} ms: ${what}${problem ? `: ${problem.message}` : ''}`);
}

// ---- Where things are -----------------------------------------------------------------------------------------------

export function readEnv(dir = serveDir) {
	const found = {};
	for (const line of readFileSync(path.join(dir, 'env'), 'utf8').split('\n')) {
		const match = line.match(/^(?:export )?(\w+)=(?:'(.*)'|"(.*)"|(.*))$/);
		if (match) found[match[1]] = match[2] ?? match[3] ?? match[4];
	}
	return found;
}

export const env = {};
export const useEnv = (dir) => Object.assign(env, readEnv(dir));
export const logFile = (name) =>
	path.join(readFileSync(path.join(serveDir, 'where'), 'utf8').trim(), 'log', `${name}.log`);

// How bin/serve has started PostgREST: its program, the file it read, and what its environment adds to that.
export function postgrest() {
	const file = path.join(path.dirname(env.PGRST_SOCKET), 'postgrest.conf');
	for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
		try {
			const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
			if (command[1] !== file) continue;
			const { uid, gid } = statSync(`/proc/${pid}`);
			const environment = Object.fromEntries(readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter((one) => one.startsWith('PGRST_')).map((one) => one.match(/^(\w+)=(.*)$/s).slice(1)));
			return { command: command.slice(0, 2), environment, uid, gid };
		} catch (error) {
			if (error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error;	// it has ended meanwhile
		}
	throw new Error(`no process has ${file}`);
}

// ---- HTTP -----------------------------------------------------------------------------------------------------------

const LATIN1 = 'latin1'; // one character for each byte, both ways

// UTF-8, but an unpaired surrogate becomes three bytes instead of U+FFFD: broken input must stay broken.
export function utf8(text) {
	if (Buffer.isBuffer(text)) return text;
	const parts = [];
	for (const piece of text.split(/([\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff])/)) {
		const code = piece.charCodeAt(0);
		if (piece.length === 1 && code >= 0xd800 && code <= 0xdfff)
			parts.push(Buffer.from([0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f)]));
		else parts.push(Buffer.from(piece, 'utf8'));
	}
	return Buffer.concat(parts);
}

const entries = (headers) => (Array.isArray(headers) ? headers : Object.entries(headers ?? {}));

// The bytes of a request.  Nothing is checked and nothing added but Host and Content-Length where they are missing.
export function requestBytes(method, target, headers = {}, body = undefined, host = 'localhost') {
	const list = entries(headers).filter(([, value]) => value !== undefined);
	const names = new Set(list.map(([name]) => name.toLowerCase()));
	const content = body === undefined || body === null ? undefined : utf8(body);
	const lines = [Buffer.concat([utf8(`${method} `), utf8(target), utf8(' HTTP/1.1')])];
	if (!names.has('host')) lines.push(utf8(`Host: ${host}`));
	for (const [name, value] of list) lines.push(Buffer.concat([utf8(`${name}: `), utf8(value)]));
	if (!names.has('content-length') && !names.has('transfer-encoding')) {
		if (content !== undefined) lines.push(utf8(`Content-Length: ${content.length}`));
		else if (method === 'POST' || method === 'PUT') lines.push(utf8('Content-Length: 0'));
	}
	const end = Buffer.from('\r\n');
	return Buffer.concat([...lines.flatMap((line) => [line, end]), end, content ?? Buffer.alloc(0)]);
}

// Called with each answer that comes.
export const answered = [];

export class Answer {
	constructor(statusLine, rawHeaders, bytes) {
		this.statusLine = statusLine;
		this.status = Number(statusLine.split(' ')[1]);
		this.rawHeaders = rawHeaders;
		this.bytes = bytes;
	}
	headers(name) {
		return this.rawHeaders.filter(([n]) => n.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
	}
	header(name) {
		return this.headers(name)[0];
	}
	get body() {
		return this.header('Content-Encoding') === 'gzip' ? zlib.gunzipSync(this.bytes) : this.bytes;
	}
	get text() {
		return this.body.toString('utf8');
	}
	get json() {
		return asJson(this.text);
	}
	get head() {
		return [this.statusLine, ...this.rawHeaders.map(([n, v]) => `${n}: ${v}`)].join('\n');
	}
}

export function asJson(text) {
	try {
		return JSON.parse(text);
	} catch {
		return undefined;
	}
}

// Takes one answer off the front of the bytes: [answer, rest], or null when it is not complete yet.
export function takeAnswer(bytes, method, ended) {
	const headEnd = bytes.indexOf('\r\n\r\n');
	if (headEnd < 0) return null;
	const [statusLine, ...lines] = bytes.subarray(0, headEnd).toString(LATIN1).split('\r\n');
	const rawHeaders = lines.map((line) => {
		const colon = line.indexOf(':');
		return [line.slice(0, colon), line.slice(colon + 1).trim()];
	});
	const answer = new Answer(statusLine, rawHeaders, Buffer.alloc(0));
	const rest = bytes.subarray(headEnd + 4);
	if (answer.status >= 100 && answer.status < 200) return takeAnswer(rest, method, ended);
	if (method === 'HEAD' || answer.status === 204 || answer.status === 304) return [answer, rest];
	if (/chunked/i.test(answer.header('Transfer-Encoding') ?? '')) return takeChunks(answer, rest);
	const length = answer.header('Content-Length');
	if (length === undefined) {
		if (!ended) return null;
		answer.bytes = rest;
		return [answer, Buffer.alloc(0)];
	}
	if (rest.length < Number(length)) return null;
	answer.bytes = rest.subarray(0, Number(length));
	return [answer, rest.subarray(Number(length))];
}

function takeChunks(answer, bytes) {
	const chunks = [];
	for (let at = 0; ; ) {
		const lineEnd = bytes.indexOf('\r\n', at);
		if (lineEnd < 0) return null;
		const size = parseInt(bytes.subarray(at, lineEnd).toString(LATIN1), 16);
		const start = lineEnd + 2;
		if (!(size >= 0)) throw new Error('the answer holds a chunk without a size');
		if (bytes.length < start + size + 2) return null;
		if (size === 0) {
			answer.bytes = Buffer.concat(chunks);
			return [answer, bytes.subarray(start + 2)];
		}
		chunks.push(bytes.subarray(start, start + size));
		at = start + size + 2;
	}
}

// Sends bytes (or several pieces, each after the one before has left) over one connection and reads as many answers as
// methods are given.  at: a base URL, the path of a unix socket, or what net.connect() takes.
export function exchange(pieces, methods, at = env.BASE_URL, timeout = 30000) {
	return new Promise((resolve, reject) => {
		const socket = net.connect(typeof at === 'object' || at.startsWith('/') ? at : { host: new URL(at).hostname, port: new URL(at).port });
		const wanted = [...methods], answers = [];
		let received = Buffer.alloc(0);
		const fail = (why) => {
			socket.destroy();
			reject(new Error(`${why}; received ${JSON.stringify(received.toString(LATIN1).slice(0, 300))}`));
		};
		const read = (ended) => {
			try {
				let taken;
				while (wanted.length > 0 && (taken = takeAnswer(received, wanted[0], ended))) {
					wanted.shift();
					answers.push(taken[0]);
					received = taken[1];
				}
			} catch (error) {
				fail(error.message);
			}
			if (wanted.length > 0) return;
			socket.destroy();
			if (received.length > 0) return fail('more bytes than one answer for each request');
			for (const answer of answers) for (const tell of answered) tell(answer);
			resolve(answers);
		};
		socket.setTimeout(timeout, () => fail(`no answer within ${timeout} ms`));
		socket.on('connect', () => {
			const list = Array.isArray(pieces) ? [...pieces] : [pieces];
			const next = () => list.length > 0 && socket.write(list.shift(), next);
			next();
		});
		socket.on('data', (data) => {
			received = Buffer.concat([received, data]);
			read(false);
		});
		socket.on('end', () => {
			read(true);
			if (wanted.length > 0) fail('the connection was closed early');
		});
		// a refusal may come before all of a large body was taken, and the connection be reset behind it
		socket.on('error', (error) => {
			read(true);
			if (wanted.length > 0) fail(error.message);
		});
	});
}

export async function send(method, target, headers, body, at = env.BASE_URL, timeout = undefined) {
	return (await exchange(requestBytes(method, target, headers, body), [method], at, timeout))[0];
}

export const keyed = (headers = {}) => ({ Authorization: env.ADMIN_TOKEN, ...headers });
export const jsonKeyed = (headers = {}) => keyed({ 'Content-Type': 'application/json', ...headers });
export const minimal = (more = {}) => ({ type: 'client', tokenName: `${run} minimal`, ...more });

// POST to the collection.  body: text or bytes as they are, anything else as JSON.
export function create(body = minimal(), headers = jsonKeyed()) {
	const content = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
	return send('POST', TOKENS, headers, content);
}

// To PostgREST itself, past nginx.
export const rest = (method, target, headers, body) =>
	send(method, target, { Accept: 'application/json', ...headers }, body, env.PGRST_SOCKET);

export function chunked(body, size = 1000) {
	const parts = [];
	for (let at = 0; at < body.length; at += size) {
		const chunk = body.subarray(at, at + size);
		parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n'));
	}
	return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

// ---- What answers must look like ------------------------------------------------------------------------------------

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
export const SECRET = /^(.+):([^:]+)\.v2_([A-Za-z0-9]{22})_([A-Za-z0-9]{43})$/s;
export const TOKEN_KEYS = ['alias', 'createdAt', 'environment', 'expiresAt', 'project', 'projects', 'secret', 'secure',
	'seenAt', 'tokenName', 'type'];

export function assertStatus(answer, status) {
	assert.equal(answer.status, status, `status ${answer.status} instead of ${status}: ${answer.text.slice(0, 400)}`);
}

// A refusal says {id, name, message, details}, and is marked as what it is.
export function assertRefusal(answer, status, name, options = {}) {
	assertStatus(answer, status);
	const told = `in ${answer.head}\n\n${answer.text}`;
	assert.match(answer.header('Content-Type') ?? '', /^application\/json(; charset=utf-8)?$/, told);
	assert.deepEqual(answer.headers('Cache-Control'), ['no-store'], told);
	const { json } = answer;
	assert.deepEqual(Object.keys(json ?? {}).sort(), ['details', 'id', 'message', 'name'], told);
	assert.match(json.id, UUID, told);
	assert.equal(json.name, name, told);
	assert.match(json.message, /\w/, told);
	assert.ok(Array.isArray(json.details) && json.details.length > 0, told);
	for (const detail of json.details) {
		assert.match(detail.message, /\w/, told);
		assert.ok(Object.keys(detail).every((key) => key === 'message' || key === 'path'), told);
	}
	if ('path' in options) assert.equal(json.details[0].path, options.path, told);
	if (options.says) assert.match(json.details.map((detail) => detail.message).join(' '), options.says, told);
	// RFC 6750: an error only for who sent a key
	const challenge = `Bearer realm="unleash_tokens"${name === 'UnauthorizedError' ? ', error="invalid_token"' : ''}`;
	if (!options.challenged) assert.deepEqual(answer.headers('WWW-Authenticate'), status === 401 ? [challenge] : [], told);
	assert.equal(answer.headers('Allow').length, status === 405 ? 1 : 0, told);
	assert.deepEqual(answer.headers('Location'), [], told);
	assertNothingOdd(answer);
}

// Nothing of PostgREST's own shows, and nothing of PostgreSQL's.
export function assertNothingOdd(answer) {
	for (const [name, value] of answer.rawHeaders) {
		assert.doesNotMatch(name, /^(content-range|content-location|proxy-status|access-control-.*|x-.*)$/i);
		assert.doesNotMatch(value, /postgrest|nginx\//i, `${name}: ${value}`);
	}
	assert.doesNotMatch(answer.text, /PGRST\d|SQLSTATE|<html|relation "|plpgsql/i);
}

export async function assertCreated(answer, expected = {}) {
	assertStatus(answer, 201);
	const { json } = answer, told = `in ${answer.head}\n\n${answer.text}`;
	assert.match(answer.header('Content-Type') ?? '', /^application\/json; charset=utf-8$/, told);
	assert.deepEqual(answer.headers('Cache-Control'), ['no-store'], told);
	assert.deepEqual(Object.keys(json).sort(), TOKEN_KEYS, told);
	const [, , , selector] = json.secret.match(SECRET) ?? assert.fail(`the secret has another shape ${told}`);
	// relative to where it was posted
	assert.deepEqual(answer.headers('Location'), [`api-tokens/${selector}`], told);
	assert.equal(json.project, json.projects.join(','), told);
	assert.equal(json.seenAt, null, told);
	assert.equal(json.alias, null, told);
	assert.equal(json.secure, true, told);
	assert.match(json.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, told);
	for (const [key, value] of Object.entries(expected)) assert.deepEqual(json[key], value, `${key} ${told}`);
	assertNothingOdd(answer);
	return { ...json, selector };
}

// ---- The database ---------------------------------------------------------------------------------------------------

// One psql of the superuser for the whole run, since starting one takes longer than most tests.
class Psql {
	constructor() {
		const connection = { PGHOST: env.PGHOST, PGPORT: env.PGPORT, PGDATABASE: env.PGDATABASE, PGUSER: env.PGUSER };
		this.child = spawn('psql', ['-X', '-q', '-A', '-t'], { env: { ...process.env, ...connection }, stdio: ['pipe', 'pipe', 'pipe'] });
		this.out = this.errors = '';
		this.waiting = Promise.resolve();
		this.child.stdout.setEncoding('utf8').on('data', (text) => {
			this.out += text;
			this.read?.();
		});
		this.child.stderr.setEncoding('utf8').on('data', (text) => (this.errors += text));
		this.child.on('error', (error) => this.fail?.(error));
		this.child.on('close', (code) => this.fail?.(new Error(`psql ended with ${code}: ${this.errors}`)));
		for (const thing of [this.child, ...this.child.stdio]) thing.unref();
	}
	ask(text) {
		const turn = this.waiting.then(() => new Promise((resolve, reject) => {
			const mark = `-- ${Math.random()} --`;
			this.fail = reject;
			this.read = () => {
				const found = this.out.match(new RegExp(`^${mark} (true|false) (.*)\n`, 'm'));
				if (!found) return;
				const rows = this.out.slice(0, found.index).replace(/\n$/, '');
				this.out = '';
				if (found[1] === 'true') reject(new Error(`SQL: ${found[2]}`));
				else resolve(rows);
			};
			this.child.ref();
			this.child.stdin.write(`${text.replace(/;?\s*$/, ';')}\n\\echo '${mark}' :ERROR :LAST_ERROR_MESSAGE\n`);
		})).finally(() => this.child.unref());
		this.waiting = turn.catch(() => {});
		return turn;
	}
}

let psql;

// One statement; its rows as text.  values are for :'name' in it.
export function sql(statement, values = {}) {
	psql ??= new Psql();
	const quoted = (value) => `'${String(value).replace(/\\/g, '\\\\').replace(/'/g, "''").replace(/\n/g, '\\n')}'`;
	const sets = Object.entries(values).map(([name, value]) => `\\set ${name} ${quoted(value)}\n`);
	return psql.ask(sets.join('') + statement);
}

// How many requests wait for a lock.  A transaction sees one state of pg_stat_activity, unless it asks for another.
export async function waiting() {
	await sql('SELECT pg_stat_clear_snapshot()');
	return Number(await sql(`SELECT count(*) FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator' AND wait_event_type = 'Lock'`));
}

export async function cancelWaiting() {
	await sql('SELECT pg_stat_clear_snapshot()');
	await sql(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator' AND wait_event_type = 'Lock'`);
}

export async function validate(secret) {
	const text = await sql(`SELECT unleash_tokens.validate_api_token(:'secret')`, { secret });
	return text === '' ? null : JSON.parse(text);
}

// How many tokens and events there are: what a refusal must not change.
export const stored = () =>
	sql(`SELECT count(*) || ' tokens, ' || (SELECT count(*) FROM unleash_tokens.api_token_event) || ' events'
		FROM unleash_tokens.api_token`);

export async function assertNothingStored(body) {
	const before = await stored();
	await body();
	assert.equal(await stored(), before, 'something was stored');
}

// A setting of the whole server, until the returned function takes it back.
export async function setSystem(name, value, visible = value) {
	const shown = async () => (await sql(`SHOW ${name}`)) === visible;
	await sql(`ALTER SYSTEM SET ${name} = :'value'`, { value });
	await sql('SELECT pg_reload_conf()');
	await poll(`${name} = ${value}`, 10000, shown);
	return async () => {
		await sql(`ALTER SYSTEM RESET ${name}`);
		await sql('SELECT pg_reload_conf()');
		await poll(`${name} is back`, 10000, async () => !(await shown()));
	};
}

// Numbers from 0 to 1, the same ones for the same seed (mulberry32).
export function seeded(seed) {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let t = state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	};
}

// One where nobody listens, as far as can be known.
export async function freePort() {
	const server = net.createServer().listen(0, '127.0.0.1');
	await new Promise((resolve) => server.on('listening', resolve));
	const { port } = server.address();
	await new Promise((resolve) => server.close(resolve));
	return port;
}
