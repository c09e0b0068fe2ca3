#!/usr/bin/env node
// Arbitrary bytes over a socket, through nginx and PostgREST: each request has at most one answer, one that doc/openapi.json
// documents or that nginx gives for what is no HTTP, never a 5xx; it says no secret and nothing of the insides; what is
// refused stores nothing.  5,000 cases, the same in every run.

import { readFileSync } from 'node:fs';
import net from 'node:net';

import { SECRET, TOKENS, assert, assertCreated, chunked, create, env, finish, jsonKeyed, logFile, minimal, poll, requestBytes, rest, takeAnswer, test, useEnv, utf8 } from '../http/lib.mjs';
import { checkAnswer } from '../openapi/check.mjs';
import {
	anyBytes, anyContentType, anyEncoding, anyJson, anyMethod, anyPath, anySecret, anyText, assertLogsClean, assertSaysNothing, assertServerSame, connect,
	disconnect, fc, fingerprinter, know, leakIn, nearJson, serverState, tryAll,
} from './lib.mjs';

useEnv();
const share = (part) => Math.ceil(part * Number(process.env.ATTACK_HTTP_CASES ?? 5000));
know(env.ADMIN_TOKEN, false);
const client = await connect();
const before = await serverState(client);
for (const body of [{ type: 'client' }, { type: 'frontend', expiresAt: '2001-01-01T00:00:00Z' }, { type: 'backend', project: 'default' }])
	know((await assertCreated(await create(minimal(body)))).secret);
const fingerprint = await fingerprinter(client);
let known = await fingerprint();
const counts = { tried: 0, closed: 0, gateway: 0 };
const statuses = new Map();

// Sends the bytes and reads until the other side closes.  half: also says that nothing more will come.
function converse(bytes, half) {
	return new Promise((resolve, reject) => {
		const socket = net.connect({ host: new URL(env.BASE_URL).hostname, port: new URL(env.BASE_URL).port, allowHalfOpen: true });
		const received = [];
		const done = () => {
			socket.destroy();
			resolve(Buffer.concat(received));
		};
		socket.setTimeout(30000, () => {
			socket.destroy();
			reject(new Error('the connection was neither answered nor closed within 30 s'));
		});
		socket.on('connect', () => (half ? socket.end(bytes) : socket.write(bytes)));
		socket.on('data', (data) => received.push(data));
		socket.on('end', done);
		socket.on('error', done);	// reset behind an answer that came before all was read
	});
}

// ---- What nginx itself may answer -----------------------------------------------------------------------------------

const GATEWAY = { 400: 'BadDataError', 405: 'MethodNotAllowedError', 413: 'PayloadTooLargeError' };
const CHUNKS = '<html>\r\n<head><title>400 Bad Request</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n';

// nginx refuses what is no HTTP with 400, a method that no path takes with 405, a long body with 413, in the shape of all
// refusals; and a body whose chunks are broken with its own page, which nothing can replace.
function isGateways(answer) {
	if (answer.status === 400 && answer.text === CHUNKS) return true;
	const { json } = answer;
	return GATEWAY[answer.status] !== undefined && (answer.text === '' || (json?.name === GATEWAY[answer.status] &&
		Object.keys(json).join() === 'id,name,message,details' && json.details.length === 1 && Object.keys(json.details[0]).join() === 'message'));
}

const isHttp = (text) => /^HTTP\/1\.[01] /.test(text.toString('latin1', 0, 12));

// ---- One case -------------------------------------------------------------------------------------------------------

async function attack({ method, target, bytes, half, said }) {
	counts.tried++;
	const sent = [bytes, said].flatMap((part) => [part.toString('latin1'), part.toString('utf8'), JSON.stringify(part.toString('utf8'))]).join('\n');
	const received = await converse(bytes, half);
	const now = await fingerprint();
	let answer;
	if (received.length === 0) counts.closed++;
	else if (!isHttp(received)) {
		// HTTP/0.9 has no head: what came is a body
		assert.doesNotMatch(bytes.toString('latin1').split('\n')[0], / HTTP\/1\.[01]\r?$/, `no HTTP: ${received.toString().slice(0, 200)}`);
		assertSaysNothing(received.toString(), sent);
		counts.closed++;
	} else {
		const taken = takeAnswer(received, method, true);
		assert.ok(taken, `half an answer: ${received.toString('latin1').slice(0, 300)}`);
		answer = taken[0];
		assert.ok(method === 'HEAD' || taken[1].length === 0, `a second answer: ${taken[1].toString('latin1').slice(0, 300)}`);
		statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
		assert.ok(answer.status < 500, `${answer.status}: ${answer.text}`);
		try {
			checkAnswer(/^[A-Z_-]+$/.test(method) ? method : 'GET', target, answer.status, answer.rawHeaders, answer.text);
		} catch (error) {
			assert.ok(isGateways(answer), `${error.message}\n${answer.head}\n${answer.text.slice(0, 400)}`);
			counts.gateway++;
		}
	}
	const changed = now !== known;
	known = now;
	let shown = answer?.text ?? '';
	if (answer?.status === 201) {
		const { secret } = answer.json;
		assert.match(secret, SECRET);
		shown = shown.replace(secret, '');
	}
	// the document is there to be read by anyone, and says what this is made of
	if (shown !== CHUNKS && !(target.includes('/docs/openapi.json') && answer?.status === 200)) assertSaysNothing(shown, sent, !(answer?.status < 400));
	if (answer) assertSaysNothing(answer.rawHeaders.map(([name, value]) => (name === 'Server' ? '' : value)).join('\n'), sent);
	assert.equal(changed, answer?.status === 201 || (changed && answer?.status === 200 && ['PUT', 'DELETE'].includes(method)),
		`the tables ${changed ? 'changed' : 'did not change'} with ${answer?.status ?? 'no answer'}`);
	if (answer?.status !== 201) return;
	// its secret is one more to be sent; its name, which may be anything, is in no list of a later case
	const gone = await client.query('DELETE FROM unleash_tokens.api_token WHERE selector = $1', [know(answer.json.secret).slice(-66, -44)]);
	assert.equal(gone.rowCount, 1, 'what was answered with 201 is not there');
	known = await fingerprint();
}

// ---- What is sent ---------------------------------------------------------------------------------------------------

// Anything but a line break, which would end the header.
const inLine = (text) => utf8(text.replace(/[\r\n]/g, ''));
const anyKey = fc.oneof({ weight: 6, arbitrary: fc.constantFrom(env.ADMIN_TOKEN, `Bearer ${env.ADMIN_TOKEN}`) }, { weight: 1, arbitrary: anySecret },
	{ weight: 1, arbitrary: anySecret.map((text) => `Bearer ${text}`) }, { weight: 1, arbitrary: anyText }, { weight: 1, arbitrary: fc.constant(undefined) });
const anyBody = fc.oneof({ weight: 5, arbitrary: nearJson.map((text) => utf8(text)) }, { weight: 2, arbitrary: anyJson.map((text) => utf8(text)) }, { weight: 2, arbitrary: anyBytes });
const anyHeader = fc.tuple(
	fc.oneof(fc.constantFrom('X-Original-Method', 'X-Original-URI', 'Prefer', 'Accept', 'Range', 'Accept-Profile', 'Content-Profile', 'Cookie', 'Origin', 'Expect', 'Host', 'If-Match', 'Upgrade',
		'Authorization', 'Content-Type', 'X-HTTP-Method-Override', 'X-Forwarded-For', 'Accept-Encoding', 'TE', 'Via', 'Max-Forwards', 'Proxy-Authorization', 'X-Accel-Redirect', 'X-Accel-Internal'),
		fc.string({ minLength: 1, maxLength: 12 }), anyText),
	fc.oneof(fc.constantFrom('POST', TOKENS, 'tx=rollback', 'return=minimal', 'application/json', '*/*', '0-0', 'bytes=0-1', 'unleash_tokens', 'pg_catalog', '100-continue', '*', 'gzip', 'h2c', 'DELETE'), anyText));
const anyHeaders = fc.array(anyHeader, { maxLength: 4 }).map((list) => list.map(([name, value]) => [inLine(name).toString('latin1'), inLine(value)]));

const structured = fc.record({ method: anyMethod, target: anyPath, key: anyKey, type: anyContentType, encoding: anyEncoding, body: anyBody, more: anyHeaders,
	framing: fc.oneof({ weight: 8, arbitrary: fc.constant('length') }, { weight: 3, arbitrary: fc.constantFrom('chunked', 'short', 'long', 'none', 'broken') }), size: fc.integer({ min: 1, max: 50 }),
	isAimed: fc.boolean(), plain: fc.record({ type: fc.constantFrom('client', 'backend', 'FRONTEND', 'admin'), tokenName: anyText, expiresAt: fc.constantFrom(null, '2031-01-01T00:00:00Z') }),
}).map(({ isAimed, plain, ...any }) => {
	// half of them go where something can be made, and half of those are almost right
	const aimed = isAimed ? { method: 'POST', target: TOKENS, key: env.ADMIN_TOKEN, type: 'application/json', body: any.size % 2 ? any.body : utf8(JSON.stringify(plain)) } : {};
	const { method, target, key, type, encoding, body, more, framing, size } = { ...any, ...aimed };
	const headers = [['Connection', 'close'], ['Authorization', key && inLine(key)], ['Content-Type', inLine(type)], ['Content-Encoding', encoding && inLine(encoding)], ...more];
	let content = body, half = false;
	if (framing === 'chunked' || framing === 'broken') {
		headers.push(['Transfer-Encoding', 'chunked']);
		content = chunked(body, size);
		// a size that is none, so that nothing more is waited for
		if (framing === 'broken') content = Buffer.concat([content.subarray(0, size), Buffer.from('\r\nzz\r\n\r\nzz\r\n\r\n')]);
	} else if (framing !== 'none') {
		headers.push(['Content-Length', String(Math.max(0, body.length + (framing === 'short' ? size : framing === 'long' ? -size : 0)))]);
		half = framing === 'short';
	}
	const line = inLine(target);
	// chunks divide words
	return { method, target: line.toString('utf8'), half, said: body, bytes: Buffer.concat([requestBytes(method, line, headers), content]) };
});

await test('requests with arbitrary parts', async () => {
	await tryAll(share(0.8), structured, attack);
	await assertServerSame(client, before);
});

// A good request with some of its bytes changed, put in or taken out.  It may wait for what never comes: nothing more will.
const damaged = fc.record({ body: nearJson, at: fc.array(fc.tuple(fc.nat(), fc.constantFrom('put', 'change', 'drop'), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 5 }) }).map(({ body, at }) => {
	let bytes = requestBytes('POST', TOKENS, [['Connection', 'close'], ...Object.entries(jsonKeyed())], body);
	for (const [where, how, byte] of at) {
		const i = where % bytes.length;
		bytes = Buffer.concat([bytes.subarray(0, i), how === 'drop' ? Buffer.alloc(0) : Buffer.from([byte]), bytes.subarray(how === 'put' ? i : i + 1)]);
	}
	return { method: 'POST', target: TOKENS, half: true, bytes };
});
const noise = fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 200 }).map((bytes) => Buffer.from(bytes)), fc.string({ maxLength: 100 }).map((text) => Buffer.from(`${text}\r\n\r\n`)),
	fc.tuple(anyMethod, anyText, fc.constantFrom('HTTP/1.1', 'HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/1.2', 'HTTP/1', 'http/1.1', '', 'HTTP/1.1 x')).map(([method, text, version]) =>
		Buffer.concat([utf8(`${method} /`), inLine(text), utf8(` ${version}\r\n\r\n`)]))).map((bytes) => ({ method: bytes.subarray(0, 5).equals(Buffer.from('HEAD ')) ? 'HEAD' : 'GET', target: '/', half: true, bytes }));

// Whoever hangs up may be taken at his word after all: a request that is whole is carried out, though nobody hears of it.
const unheard = async (request) => {
	counts.tried++;
	const sent = [request.bytes.toString('latin1'), request.bytes.toString('utf8'), JSON.stringify(request.bytes.toString('utf8'))].join('\n');
	const received = (await converse(request.bytes, true)).toString('utf8');
	const [, status] = received.match(/^HTTP\/1\.[01] (\d{3}) /) ?? [];
	if (status) statuses.set(Number(status), (statuses.get(Number(status)) ?? 0) + 1);
	else counts.closed++;
	assert.ok(!(Number(status) >= 500), received.slice(0, 400));
	let shown = received;
	if (status === '201') {
		const [secret] = received.match(/[^"]+\.v2_utok[A-Za-z0-9]{18}_[A-Za-z0-9]{43}/);
		shown = received.replace(secret, '');
		know(secret);
	}
	if (!shown.includes('<hr><center>nginx</center>')) assertSaysNothing(shown.replace(/^Server: nginx\r$/gm, ''), sent, !(Number(status) < 400));
};
await test('good requests with damaged bytes, and bytes that are no request', async () => {
	await tryAll(share(0.1), damaged, unheard);
	const settled = await poll('nothing is under way', 15000, async () => {
		const word = await fingerprint();
		return (await client.query(`SELECT 1 FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator' AND state <> 'idle'`)).rowCount === 0 && word === (await fingerprint()) && word;
	});
	await tryAll(share(0.1), noise, unheard);
	assert.equal(await fingerprint(), settled, 'bytes that are no request stored something');
	await assertServerSame(client, before);
});

// The server's own reader refuses such a body before a function of ours is called, and quotes it: to the caller at most.
await test('a body that is no JSON, past nginx on the SQL door: what the log says of it has no secret', async () => {
	const { secret } = await assertCreated(await create(minimal()));
	know(secret);
	const length = readFileSync(logFile('postgresql'), 'latin1').length;
	for (const body of [`[{"secret":"${secret}"`, `[{"secret":"${secret}",}]`, `{"type":"client","tokenName":"${secret}\\u0000"}`, `[{"tokenName":"\x01${secret}"}]`, `[${secret}]`, `"${secret}`])
		for (const name of ['import_api_tokens', 'create_api_token']) {
			const answer = await rest('POST', `/rpc/${name}`, { Authorization: `Bearer ${env.SQL_JWT}`, 'Content-Type': 'application/json' }, body);
			assert.ok([400, 404].includes(answer.status), answer.text);
		}
	const said = readFileSync(logFile('postgresql'), 'latin1').slice(length);
	assert.match(said, /ERROR:  /, 'none of them came to the server');
	assert.equal(leakIn(said), null, 'a secret is in the log');
});

await test('no secret of these cases is in a log', async () => {
	assert.ok(assertLogsClean() > 0);
});

console.log(`figure: ${counts.tried} cases through nginx: ${[...statuses].sort().map(([status, n]) => `${n} times ${status}`).join(', ')}, ${counts.closed} closed without a status; ${counts.gateway} refused by nginx`);
await client.query('DELETE FROM unleash_tokens.api_token WHERE token_name <> $1', ['first']);
await disconnect();
finish();
