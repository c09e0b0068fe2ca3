#!/usr/bin/env node
// Request smuggling: bytes that two servers in a row could divide into requests in two ways.  Hidden in each is a second
// request that would make a token of a name of its own.  Whatever is answered, that token must not come to be; and what nginx
// passes on, PostgREST must take for one request.

import net from 'node:net';

import { SECRET, TOKENS, assert, env, finish, minimal, poll, requestBytes, run, sql, takeAnswer, test, useEnv, validate } from '../http/lib.mjs';
import { assertSaysNothing, assertServerSame, connect, disconnect, know, serverState } from './lib.mjs';

useEnv();
know(env.ADMIN_TOKEN, false);
const client = await connect();
const before = await serverState(client);
const counts = { tried: 0, refused: 0, single: 0, closed: 0 };
const key = `Authorization: ${env.ADMIN_TOKEN}`, json = 'Content-Type: application/json';

// What is hidden: a whole request with a good key.
const hidden = (name) => requestBytes('POST', TOKENS, [['Authorization', env.ADMIN_TOKEN], ['Content-Type', 'application/json']], JSON.stringify(minimal({ tokenName: name }))).toString('latin1');
const outer = (name) => JSON.stringify(minimal({ tokenName: name }));
const hex = (n) => n.toString(16);

// Sends, then says that nothing more will come once the first answer is there, and reads to the end.
function converse(text) {
	return new Promise((resolve, reject) => {
		const socket = net.connect({ host: new URL(env.BASE_URL).hostname, port: new URL(env.BASE_URL).port, allowHalfOpen: true });
		let received = Buffer.alloc(0);
		const done = () => {
			socket.destroy();
			resolve(received);
		};
		socket.setTimeout(30000, () => (socket.destroy(), reject(new Error('neither answered nor closed within 30 s'))));
		socket.on('connect', () => socket.write(Buffer.from(text, 'latin1')));
		socket.on('data', (data) => {
			received = Buffer.concat([received, data]);
			if (received.includes('\r\n\r\n')) socket.end();
		});
		socket.on('end', done);
		socket.on('error', done);
	});
}

function answersIn(bytes) {
	const answers = [];
	let rest = bytes, taken;
	while (rest.length > 0 && (taken = takeAnswer(rest, 'POST', true))) {
		answers.push(taken[0]);
		rest = taken[1];
	}
	return answers;
}

const exists = async (name) => (await sql(`SELECT count(*) FROM unleash_tokens.api_token WHERE token_name = :'name'`, { name })) !== '0';
const idle = () => poll('nothing is under way', 15000, async () => (await sql(`SELECT count(*) FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator' AND state <> 'idle'`)) === '0');

// ---- The shapes -----------------------------------------------------------------------------------------------------

// Each: (the outer body, the hidden request) -> the bytes.  What follows an outer request is hidden in its body by one
// of the two readings.
const head = (...lines) => [`POST ${TOKENS} HTTP/1.1`, 'Host: localhost', key, json, ...lines, '', ''].join('\r\n');
const chunks = (text, extension = '') => `${hex(text.length)}${extension}\r\n${text}\r\n0\r\n\r\n`;
const shapes = {};

// both lengths: the end by one is the beginning of the hidden request by the other
for (const te of ['chunked', 'Chunked', 'CHUNKED', ' chunked', 'chunked ', '\tchunked', 'chunked\t', '\x0bchunked', 'chunked\x0b', '\x0cchunked', 'xchunked', 'chunkedx', '"chunked"', "'chunked'", 'chunked;q=1', 'chunked, identity',
	'identity, chunked', 'chunked, chunked', 'gzip, chunked', ',chunked', 'chunked,', 'identity', '', 'x', 'cow', 'chun\u00ffked', 'chunked\u0000', '\u0000chunked', 'chunked\u0085', '\u00a0chunked', 'c\thunked', 'trailers', 'compress', 'deflate, chunked'])
	for (const [how, lines] of [['before', (n) => [`Content-Length: ${n}`, `Transfer-Encoding:${te}`]], ['behind', (n) => [`Transfer-Encoding:${te}`, `Content-Length: ${n}`]]]) {
		shapes[`CL.TE ${how}, ${JSON.stringify(te)}`] = (body, more) => head(...lines(`0\r\n\r\n${more}`.length)) + `0\r\n\r\n${more}`;
		shapes[`TE.CL ${how}, ${JSON.stringify(te)}`] = (body, more) => head(...lines(4)) + chunks(more);
	}
// the name of the header, written in ways that only one of the two may understand
for (const line of ['Transfer-Encoding : chunked', 'Transfer-Encoding\t: chunked', ' Transfer-Encoding: chunked', '\tTransfer-Encoding: chunked', 'Transfer_Encoding: chunked', 'Transfer Encoding: chunked', 'Transfer-Encoding:\r\n chunked',
	'Transfer-Encoding:\n chunked', 'Transfer-Encoding: x\r\n chunked', 'X: x\nTransfer-Encoding: chunked', 'X: x\rTransfer-Encoding: chunked', 'X: x\r\rTransfer-Encoding: chunked', 'X\u0000: x\r\nTransfer-Encoding: chunked', 'X: \u0000\r\nTransfer-Encoding: chunked',
	'Transfer-Encoding\u0000: chunked', '\u0000Transfer-Encoding: chunked', 'Transfer-Encoding\u00ff: chunked', 'transfer-encoding: chunked', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity', 'Transfer-Encoding: identity\r\nTransfer-Encoding: chunked',
	'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', 'Transfer-Encoding: chunked\r\nTransfer-encoding: x', 'Transfer-Encoding:chunked\r\n\tx', 'TE: chunked', 'Content-Encoding: chunked', 'X-Transfer-Encoding: chunked', ': chunked', 'Transfer-Encoding; chunked',
	'Transfer-Encoding= chunked', '"Transfer-Encoding": chunked']) {
	shapes[`CL.TE, ${JSON.stringify(line)}`] = (body, more) => head(`Content-Length: ${`0\r\n\r\n${more}`.length}`, line) + `0\r\n\r\n${more}`;
	// names of other headers, by any reading: there the second request would be one of its own right
	if (/^(Transfer_|TE:|Content-|X-|"|Transfer-Encoding\u00ff)/.test(line)) continue;
	shapes[`TE.CL, ${JSON.stringify(line)}`] = (body, more) => head('Content-Length: 4', line) + chunks(more);
}
// Content-Length: twice, or as no number.  The longer reading hides the second request, the shorter would carry it out.
const long = (body, more) => body.length + more.length;
for (const [name, lines] of Object.entries({
	'short, long': (a, b) => [`Content-Length: ${a}`, `Content-Length: ${b}`], 'long, short': (a, b) => [`Content-Length: ${b}`, `Content-Length: ${a}`], 'the same twice': (a, b) => [`Content-Length: ${b}`, `Content-Length: ${b}`],
	'a list': (a, b) => [`Content-Length: ${a}, ${b}`], 'a list, the other way': (a, b) => [`Content-Length: ${b}, ${a}`], 'a list of one': (a, b) => [`Content-Length: ${b},`], plus: (a, b) => [`Content-Length: +${b}`], minus: (a, b) => [`Content-Length: -${b}`],
	'minus nothing': () => ['Content-Length: -0'], hexadecimal: (a, b) => [`Content-Length: 0x${hex(b)}`], 'without 0x': (a, b) => [`Content-Length: ${hex(b)}h`], octal: (a, b) => [`Content-Length: 0o${b.toString(8)}`], 'a leading zero': (a, b) => [`Content-Length: 0${b}`],
	fraction: (a, b) => [`Content-Length: ${b}.0`], exponent: (a, b) => [`Content-Length: ${b}e0`], 'blank inside': (a, b) => [`Content-Length: ${String(b)[0]} ${String(b).slice(1)}`], 'a blank before the colon': (a, b) => [`Content-Length : ${b}`],
	'a tab before the colon': (a, b) => [`Content-Length\t: ${b}`], underscore: (a, b) => [`Content_Length: ${b}`], 'NUL behind': (a, b) => [`Content-Length: ${b}\u0000`], 'NUL before': (a, b) => [`Content-Length: \u0000${b}`], empty: () => ['Content-Length:'], word: () => ['Content-Length: x'],
	'2^32 more': (a, b) => [`Content-Length: ${2 ** 32 + a}`], '2^64 more': (a) => [`Content-Length: ${(2n ** 64n + BigInt(a)).toString()}`], '2^63': () => [`Content-Length: ${(2n ** 63n).toString()}`], '400 digits': (a, b) => [`Content-Length: ${'0'.repeat(400)}${b}`], '400 nines': () => [`Content-Length: ${'9'.repeat(400)}`],
	folded: (a, b) => [`Content-Length:\r\n ${b}`], 'folded on': (a, b) => [`Content-Length: ${a}\r\n ${b}`], 'hidden behind a bare CR': (a, b) => [`X: x\rContent-Length: ${b}`], 'hidden behind a bare LF': (a, b) => [`X: x\nContent-Length: ${b}`], 'other digits': (a, b) => [`Content-Length: \u00b2${b}`],
	'in quotes': (a, b) => [`Content-Length: "${b}"`], 'with a unit': (a, b) => [`Content-Length: ${b} bytes`],
})) shapes[`Content-Length, ${name}`] = (body, more) => head(...lines(body.length, long(body, more))) + body + more;
// chunks
const te = 'Transfer-Encoding: chunked';
const chunkShapes = {
	'an extension': (body, more) => chunks(body + more, ';a=b'), 'a long extension': (body, more) => chunks(body + more, `;${'x'.repeat(5000)}`), 'an extension with a bare LF': (body, more) => `${hex(body.length)};\n${body}\r\n0\r\n\r\n${more}`,
	'a LF inside an extension': (body, more) => `${hex(body.length)};a\n${hex(long(body, more))}\r\n${body}\r\n0\r\n\r\n`, 'a CR inside an extension': (body, more) => `${hex(body.length)};a\rb\r\n${body}\r\n0\r\n\r\n`, 'a NUL inside an extension': (body) => `${hex(body.length)};\u0000\r\n${body}\r\n0\r\n\r\n`,
	'an extension in quotes': (body, more) => `${hex(long(body, more))};a="\r\n"\r\n${body}${more}\r\n0\r\n\r\n`, 'a size with 0x': (body, more) => `0x${hex(long(body, more))}\r\n${body}${more}\r\n0\r\n\r\n`, 'a size with plus': (body, more) => `+${hex(long(body, more))}\r\n${body}${more}\r\n0\r\n\r\n`,
	'a size with minus': (body, more) => `-1\r\n${body}${more}\r\n0\r\n\r\n`, 'a size with zeros': (body, more) => chunks(body + more).replace(/^/, '0000'), 'a size with blanks': (body, more) => `${hex(long(body, more))} \t\r\n${body}${more}\r\n0\r\n\r\n`, 'a blank before the size': (body, more) => ` ${chunks(body + more)}`,
	'a size of 2^64 more': (body, more) => `${(2n ** 64n + BigInt(body.length)).toString(16)}\r\n${body}\r\n0\r\n\r\n${more}`, 'a size of 2^63 more': (body, more) => `${(2n ** 63n + BigInt(body.length)).toString(16)}\r\n${body}\r\n0\r\n\r\n`, 'a size of 100 zeros': (body, more) => `${'0'.repeat(100)}${chunks(body + more)}`,
	'no size': (body, more) => `\r\n${body}${more}\r\n0\r\n\r\n`, 'an underscore': (body, more) => `0_1\r\n${body}${more}\r\n0\r\n\r\n`, 'a bare LF behind the size': (body, more) => `${hex(long(body, more))}\n${body}${more}\r\n0\r\n\r\n`, 'a bare LF behind the chunk': (body, more) => `${hex(body.length)}\r\n${body}\n0\r\n\r\n`,
	'a bare CR behind the size': (body, more) => `${hex(body.length)}\r${body}\r\n0\r\n\r\n`, 'bytes behind the chunk': (body, more) => `${hex(body.length)}\r\n${body}xx0\r\n\r\n`, 'a trailer of Content-Length': (body, more) => `${hex(body.length)}\r\n${body}\r\n0\r\nContent-Length: ${more.length}\r\n\r\n`,
	'a trailer of Transfer-Encoding': (body, more) => `${hex(body.length)}\r\n${body}\r\n0\r\nTransfer-Encoding: x\r\n\r\n`, 'a trailer that is a request': (body, more) => `${hex(body.length)}\r\n${body}\r\n0\r\nX: ${more.replace(/\r\n/g, ' ')}\r\n\r\n`, 'a folded trailer': (body) => `${hex(body.length)}\r\n${body}\r\n0\r\nX: a\r\n b\r\n\r\n`,
	'a last chunk of several zeros': (body) => `${hex(body.length)}\r\n${body}\r\n0000\r\n\r\n`,
};
for (const [name, make] of Object.entries(chunkShapes)) {
	// where the hidden request stands behind the end by every reading, it is a second request of its own right: not here
	shapes[`chunks, ${name}`] = (body, more) => head(te) + make(body, more).replace(new RegExp(`0\\r\\n\\r\\n${more.slice(0, 20).replace(/[^\w ]/g, '.')}[^]*$`), '0\r\n\r\n');
}
// the request line, the head, and whose request it is
Object.assign(shapes, {
	'a second request in a header, by NUL': (body, more) => head(`Content-Length: ${body.length}`, `X: a\u0000${more}`) + body, 'a second head in a folded header': (body, more) => head(`Content-Length: ${body.length}`, `X: a\r\n ${more.replaceAll('\r\n', '\r\n ')}`) + body,
	'a second head behind bare CRs': (body, more) => head(`Content-Length: ${body.length}`, `X: a${more.replaceAll('\r\n', '\r')}`) + body, 'absolute form, another host': (body, more) => `POST http://other.example${TOKENS} HTTP/1.1\r\nHost: localhost\r\n${key}\r\n${json}\r\nContent-Length: ${long(body, more)}\r\n\r\n${body}${more}`,
	'absolute form, two lines': (body, more) => `POST http://a\r\n${more}`, 'absolute form, a user': (body, more) => `POST http://a:b@c${TOKENS} HTTP/1.1\r\nHost: x\r\n${json}\r\nContent-Length: ${long(body, more)}\r\n\r\n${body}${more}`, 'two hosts': (body, more) => head('Host: other', `Content-Length: ${long(body, more)}`) + body + more,
	'a method with a body that has none': (body, more) => `GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: ${more.length}\r\n\r\n${more}`, 'HEAD with a body': (body, more) => `HEAD /health HTTP/1.1\r\nHost: x\r\nContent-Length: ${more.length}\r\n\r\n${more}`, 'GET in chunks': (body, more) => `GET /health HTTP/1.1\r\nHost: x\r\n${te}\r\n\r\n${chunks(more)}`,
	'HEAD in chunks': (body, more) => `HEAD ${TOKENS} HTTP/1.1\r\nHost: x\r\n${key}\r\n${te}\r\n\r\n${chunks(more)}`, 'DELETE with a body': (body, more) => `DELETE ${TOKENS}/x HTTP/1.1\r\nHost: x\r\n${key}\r\nContent-Length: ${more.length}\r\n\r\n${more}`, 'OPTIONS with a body': (body, more) => `OPTIONS ${TOKENS} HTTP/1.1\r\nHost: x\r\n${key}\r\nContent-Length: ${more.length}\r\n\r\n${more}`,
	'a document with a body': (body, more) => `GET /docs/openapi.json HTTP/1.1\r\nHost: x\r\nContent-Length: ${more.length}\r\n\r\n${more}`, 'a refused target with a body': (body, more) => `POST /\u00ff HTTP/1.1\r\nHost: x\r\nContent-Length: ${more.length}\r\n\r\n${more}`, 'a body refused with 413': (body, more) => `POST ${TOKENS} HTTP/1.1\r\nHost: x\r\n${json}\r\nContent-Length: 200000\r\n\r\n${more}`,
	'413 in chunks': (body, more) => `POST ${TOKENS} HTTP/1.1\r\nHost: x\r\n${json}\r\n${te}\r\n\r\n30d40\r\n${more}`, '401 with a body': (body, more) => `POST ${TOKENS} HTTP/1.1\r\nHost: x\r\n${json}\r\nContent-Length: ${more.length}\r\n\r\n${more}`, '405 of nginx with a body': (body, more) => `TRACE / HTTP/1.1\r\nHost: x\r\nContent-Length: ${more.length}\r\n\r\n${more}`,
	'CONNECT with a body': (body, more) => `CONNECT localhost:80 HTTP/1.1\r\nHost: x\r\nContent-Length: ${more.length}\r\n\r\n${more}`, 'Expect with a body': (body, more) => head('Expect: 100-continue', `Content-Length: ${long(body, more)}`) + body + more, 'an unknown Expect': (body, more) => head('Expect: x', `Content-Length: ${long(body, more)}`) + body + more,
	'an Upgrade': (body, more) => head('Connection: Upgrade', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__', `Content-Length: ${long(body, more)}`) + body + more, 'Connection names the length': (body, more) => head('Connection: Content-Length', `Content-Length: ${long(body, more)}`) + body + more,
	'Connection names the chunks': (body, more) => head('Connection: Transfer-Encoding', te) + chunks(body + more), 'HTTP/1.0 in chunks': (body, more) => head(te, `Content-Length: ${long(body, more)}`).replace('HTTP/1.1', 'HTTP/1.0') + body + more, 'the line of HTTP/0.9': (body, more) => `POST ${TOKENS}\r\n${more}`, 'HTTP/0.9, GET': (body, more) => `GET /health\r\n${more}`,
	'HTTP/2 by its preface': (body, more) => `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${more}`, 'HTTP/1.1 and more': (body, more) => `POST ${TOKENS} HTTP/1.1 x\r\n${more}`, 'a tab in the request line': (body, more) => `POST\t${TOKENS}\tHTTP/1.1\r\n${more}`, 'a CR in the request line': (body, more) => `POST ${TOKENS}\rHTTP/1.1\r\n${more}`,
	'a request in the target': (body, more) => `POST ${TOKENS}?${more.replaceAll('\r\n', '%0d%0a').replaceAll(' ', '%20').slice(0, 4000)} HTTP/1.1\r\nHost: x\r\n${key}\r\n${json}\r\nContent-Length: 2\r\n\r\n{}`, 'an encoded line break in the target': () => `POST ${TOKENS}%20HTTP/1.1%0d%0aHost:%20x%0d%0a%0d%0a HTTP/1.1\r\nHost: x\r\n${key}\r\n${json}\r\nContent-Length: 2\r\n\r\n{}`,
	'a NUL in the target': (body, more) => `POST ${TOKENS}\u0000 HTTP/1.1\r\n${more}`, 'a line that is no header': (body, more) => `POST ${TOKENS} HTTP/1.1\r\nHost: x\r\nnone\r\nContent-Length: ${more.length}\r\n\r\n${more}`, 'a prefix without an end': (body, more) => `GET /health HTTP/1.1\r\nHost: x\r\nX: ${more}`,
});

for (const group of ['CL.TE', 'TE.CL', 'Content-Length', 'chunks', ''])
	await test(`smuggling: ${group || 'request lines, heads and bodies where none is expected'}`, async () => {
		const wrong = [];
		for (const [name, make] of Object.entries(shapes)) {
			const mine = ['CL.TE', 'TE.CL', 'Content-Length', 'chunks'].find((prefix) => name.startsWith(prefix)) ?? '';
			if (mine !== group) continue;
			const id = counts.tried++, names = [`${run} outer ${id}`, `${run} hidden ${id}`];
			const bytes = make(outer(names[0]), hidden(names[1]));
			const received = await converse(bytes), answers = answersIn(received);
			await idle();
			if (await exists(names[1])) wrong.push(`${name}: the hidden request was carried out`);
			if (answers.length > 1 && !(answers.at(-1).status === 400)) wrong.push(`${name}: ${answers.map(({ status }) => status).join(', ')}`);
			if (answers.filter(({ status }) => status < 300).length > 1) wrong.push(`${name}: two requests were carried out`);
			if (answers.some(({ status }) => status >= 500)) wrong.push(`${name}: ${answers.map(({ status }) => status).join(', ')}`);
			if (answers.length === 0) counts.closed++;
			else if (answers[0].status >= 400) counts.refused++;
			else counts.single++;
			const secret = answers[0]?.json?.secret;
			if (secret && SECRET.test(secret)) know(secret);
			// nginx's own page, and the document, say what they are
			if (!/<center>nginx|"openapi": /.test(received)) assertSaysNothing(received.toString().replaceAll(secret ?? '\0', '').replace(/^Server: nginx\r$/gm, ''), bytes);
		}
		assert.deepEqual(wrong, []);
	});

await test('control: behind a whole request the second one is a request of its own right', async () => {
	const names = [`${run} control outer`, `${run} control second`];
	const body = outer(names[0]);
	const received = await converse(head(`Content-Length: ${body.length}`) + body + hidden(names[1]));
	await poll('both are there', 15000, async () => (await exists(names[0])) && (await exists(names[1])));
	assert.ok(answersIn(received).length >= 1);
	for (const answer of answersIn(received)) assert.ok(await validate(know(answer.json.secret)));
});

await test('what was passed on has left nothing in the connections to PostgREST', async () => {
	// a prefix that was left in one of them would spoil the next request on it
	for (let round = 0; round < 20; round++)
		for (const answer of await Promise.all(Array.from({ length: 10 }, async () => answersIn(await converse(`GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`))[0])))
			assert.deepEqual([answer.status, answer.text], [200, '{"health":"GOOD"}']);
	await assertServerSame(client, before);
});

console.log(`figure: ${counts.tried} shapes: ${counts.refused} refused with 4xx, ${counts.single} taken as one request, ${counts.closed} closed without an answer; no hidden request was carried out`);
await client.query('DELETE FROM unleash_tokens.api_token WHERE token_name <> $1', ['first']);
await disconnect();
finish();
