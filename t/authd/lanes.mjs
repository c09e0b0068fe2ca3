// The lanes of /auth and /edge/validate beside each other: nginx with PostgREST (BASE_URL), nginx with authd (LANE_URL), and authd
// itself (AUTHD_SOCKET).  What they answer is compared byte for byte, but for the date and the id of a refusal.

import net from 'node:net';
import {
	assert, assertRefusal, assertStatus, chunked, create, env, finish, jsonKeyed, keyed, minimal, requestBytes, exchange, run, send, sql, test, TOKENS, useEnv,
} from '../http/lib.mjs';

useEnv();
const fast = process.env.LANE_URL, direct = env.AUTHD_SOCKET;

async function make(more) {
	const answer = await create(minimal(more));
	assertStatus(answer, 201);
	return answer.json.secret;
}
await sql(`INSERT INTO unleash_tokens.project (id) SELECT unnest(ARRAY['lane', 'läne,%']) UNION ALL SELECT 'lane-' || repeat('x', 30) || i FROM generate_series(0, 39) AS i ON CONFLICT DO NOTHING`);
const client = await make({ projects: ['lane', 'läne,%'], environment: 'development', tokenName: `${run} läne` });
const backend = await make({ type: 'backend', projects: ['lane'], environment: 'production', expiresAt: '2099-01-01T00:00:00Z' });
const bound = await make({ projects: ['lane'], environment: 'development', allowedIps: ['192.0.2.1'] });
const here = await make({ projects: ['lane'], environment: 'development', allowedIps: ['127.0.0.0/8'] });
const long = await make({ projects: Array.from({ length: 40 }, (_, i) => `lane-${'x'.repeat(30)}${i}`), environment: 'development', tokenName: 'ä'.repeat(100), rateLimit: { limit: 1000000, period: 60 } });
const expired = await make({ projects: ['lane'], environment: 'development', expiresAt: '2020-01-01T00:00:00Z' });

const ID = /"id":"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"/;
const plain = (answer) => {
	const text = answer.body.toString('latin1');
	return `${answer.head.replace(/^Date: .*$/m, 'Date: *')}\n\n${answer.header('Content-Encoding') ? `(compressed) ${text}` : text}`.replace(ID, '"id":"*"');
};
// nginx has its own words for the frame, and says how long a body is where authd does not
const FRAME = /^(Server|Date|Connection|Transfer-Encoding|Content-Length|Vary|Content-Encoding)$/i;
const bare = (answer) => [answer.status, ...answer.rawHeaders.filter(([name]) => !FRAME.test(name) && name !== 'X-Refusal').map((one) => one.join(': ')).sort(),
	answer.text.replace(ID, '"id":"*"').replace(/\\u([0-9a-f]{4})/g, (_, code) => String.fromCharCode(parseInt(code, 16)))].join('\n');

let compared = 0;
const statuses = new Map();
// The same bytes to both; direct as well, unless nginx does something with them that only nginx does.
async function same(method, target, headers, body, { alone = false } = {}) {
	const bytes = requestBytes(method, target, headers, body);
	const [slow, quick] = [(await exchange(bytes, [method]))[0], (await exchange(bytes, [method], fast))[0]];
	const what = `${method} ${JSON.stringify(target.toString('latin1'))} ${JSON.stringify(headers)}`.slice(0, 300);
	assert.equal(plain(quick), plain(slow), what);
	if (!alone) {
		const itself = (await exchange(bytes, [method], direct))[0];
		assert.equal(bare(itself), bare(slow), `asked directly: ${what}`);
	}
	statuses.set(slow.status, (statuses.get(slow.status) ?? 0) + 1);
	compared++;
	return slow;
}
const asked = (headers) => ({ 'X-Original-Address': '127.0.0.1', ...headers });	// what nginx says, for the direct one; nginx drops it

const keys = {
	'no key': undefined, 'an empty one': '', 'a client\'s': client, 'a backend\'s': backend, 'an admin\'s': env.ADMIN_TOKEN, 'an expired one': expired, 'one of another address': bound,
	'one of this address': here, 'Bearer': `Bearer ${client}`, 'bEARER and blanks': `bEARER \t  ${client}`, 'Bearer alone': 'Bearer', 'Bearer and a blank': 'Bearer  ', 'Bearer twice': `Bearer bearer ${client}`,
	'Bearer glued': `Bearer${client}`, 'Basic': `Basic ${client}`, 'a blank behind': `${client} `, 'a tab behind': `${client}\t`, 'a blank before': `  ${client}`, 'a tab within': `${client}\tx`, 'mistyped': `${client.slice(0, -1)}!`, 'long': 'x'.repeat(7000),
	'UTF-8': 'schlüssel', 'no UTF-8': Buffer.from([0xff, 0xfe]), 'overlong UTF-8': Buffer.from([0xc0, 0xaf]), 'a surrogate': Buffer.from([0xed, 0xa0, 0x80]), 'beyond Unicode': Buffer.from([0xf4, 0x90, 0x80, 0x80]), 'cut UTF-8': Buffer.from('ä').subarray(0, 1),
	'a control character': 'a\x01b', 'DEL': 'a\x7fb', 'the four bytes': '\u{1f511}',
};

for (const [name, key] of Object.entries(keys)) {
	// behind a value tabs are the business of whoever parses it first
	await test(`/auth with ${name}`, () => same('GET', '/auth', asked(key === undefined ? {} : { Authorization: key }), undefined, { alone: /control|DEL/.test(name) }));
}

// nginx refuses two keys by itself, and hands on one type of two.
await test('a header that comes twice', async () => {
	const place = Object.entries(asked({}));
	for (const [one, other] of [[client, client], ['x', client], [client, 'x'], ['', client]]) {
		const headers = [...place, ['Authorization', one], ['Authorization', other]];
		assertStatus(await same('GET', '/auth', headers, undefined, { alone: true }), 400);
		assertStatus(await send('GET', '/auth', headers, undefined, direct), 401);
	}
	for (const name of ['Content-Type', 'Content-Encoding'])
		for (const values of [['application/json', 'application/json'], ['identity', 'identity'], ['application/json', 'text/plain']]) {
			const headers = [...place, ...values.map((value) => [name, value]), ...(name === 'Content-Type' ? [] : [['Content-Type', 'application/json']])];
			await same('POST', '/edge/validate', headers, '{"tokens":[]}', { alone: true });
			assertStatus(await send('POST', '/edge/validate', headers, '{"tokens":[]}', direct), 415);
		}
});

await test('/auth with every method', async () => {
	for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND', 'BREW'])
		for (const key of [client, undefined, 'x'])
			for (const query of ['', '?type=client', '?type=admin', '?nothing', '?path=/orders/1&x'])
				await same(method, `/auth${query}`, asked({ Authorization: key }));
});

await test('/auth with a body, which nobody reads', async () => {
	for (const method of ['GET', 'POST', 'PUT'])
		for (const type of [undefined, 'application/json', 'text/plain'])
			await same(method, '/auth', asked({ Authorization: client, 'Content-Type': type }), '{"tokens": []}');
	await same('POST', '/auth', asked({ Authorization: client, 'Transfer-Encoding': 'chunked' }), chunked(Buffer.from('x'.repeat(5000))));
	await same('POST', '/auth', asked({ Authorization: client, 'Content-Length': '102401' }), 'x', { alone: true });
});

await test('/auth with every query', async () => {
	for (const query of ['type=client', 'type=backend,client', 'type=frontend', 'type=CLIENT', 'type=', 'type=admin,client&project=lane', 'project=lane', 'project=l%C3%A4ne%2C%25', 'project=l%c3', 'project=nope', 'project=default',
		'environment=development', 'environment=production', 'environment=nope', 'project=lane&environment=development&type=client', 'project=lane&project=lane', 'path=', 'path=%', 'type=client&path=/a?b&type=admin', 'x=1', '', '&', '=', 'type', '%74ype=client', 'type=client&',
		'project=läne', 'project=a b', 'project=%00', `project=${'x'.repeat(5000)}`])
		for (const key of [client, undefined])
			await same('GET', `/auth?${query}`, asked({ Authorization: key }), undefined, { alone: query.includes(' ') });
});

await test('paths that are nearly theirs', async () => {
	for (const target of ['/auth/', '/auth//', '//auth', '/Auth', '/%61uth', '/auth%2F', '/auth/x', '/x/../auth', '/auth/../auth', '/./auth', '/auth#x', '/auth%3Ftype=client', '/auth;x', '/authx',
		`/api/admin/api-tokens/../../../auth`, '/edge/validate/', '/edge//validate', '/edge/%76alidate', '/edge/validate?x=1', '/edge/validate#', '/edge/../edge/validate', '/edge/validatex'])
		for (const method of ['GET', 'POST'])
			await same(method, target, asked({ Authorization: client, 'Content-Type': 'application/json' }), method === 'POST' ? '{"tokens": []}' : undefined, { alone: true });
	for (const bytes of [[0xff], [0xc3], [0xc3, 0xa4], [0xed, 0xa0, 0x80], [0x01], [0x7f]])
		for (const path of ['/auth?path=', '/auth?project=', '/edge/validate?'])
			await same('GET', Buffer.concat([Buffer.from(path), Buffer.from(bytes)]), { Authorization: client }, undefined, { alone: true });
});

await test('a target that is not UTF-8 is 400, of authd itself too', async () => {
	const [answer] = await exchange(requestBytes('GET', Buffer.concat([Buffer.from('/auth?'), Buffer.from([0xff])]), {}), ['GET'], direct);
	assertStatus(answer, 400);
	assert.equal(answer.json.name, 'BadDataError');
});

const lists = {
	'none': { tokens: [] }, 'one': { tokens: [client] }, 'all kinds': { tokens: [client, 'x', backend, env.ADMIN_TOKEN, expired, bound, 5, null, client] }, 'something else': { tokens: 'x' }, 'nothing': {},
	'many': { tokens: Array.from({ length: 900 }, (_, i) => `default:development.${i}`).concat(client) },
};
for (const [name, list] of Object.entries(lists))
	await test(`/edge/validate of ${name}`, async () => {
		for (const headers of [{}, { 'Accept-Encoding': 'gzip' }, { Authorization: client }, { Authorization: 'Bearer x' }])
			await same('POST', '/edge/validate', asked({ 'Content-Type': 'application/json', ...headers }), JSON.stringify(list));
		await same('POST', '/edge/validate', asked({ 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' }), chunked(Buffer.from(JSON.stringify(list))));
	});

await test('/edge/validate of what is no JSON, and of other types', async () => {
	for (const body of ['', '{', '[]', '{"tokens":["\\ud800"]}', '{"tokens":["\\u0000"]}', Buffer.from([0x7b, 0xff]), '\ufeff{"tokens":[]}', `{"tokens":[${'['.repeat(5000)}`])
		await same('POST', '/edge/validate', asked({ 'Content-Type': 'application/json' }), body);
	for (const type of [undefined, '', 'text/plain', 'application/json; charset=utf-8', 'application/json;charset=latin1', 'APPLICATION/JSON', 'application/json, text/plain', 'schön', Buffer.from([0xff]), 'x'.repeat(3000)])
		await same('POST', '/edge/validate', asked({ 'Content-Type': type }), '{"tokens":[]}');
	for (const encoding of ['identity', 'gzip', 'IDENTITY', '', 'ä', Buffer.from([0xfe])])
		await same('POST', '/edge/validate', asked({ 'Content-Type': 'application/json', 'Content-Encoding': encoding }), '{"tokens":[]}');
	for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])
		await same(method, '/edge/validate', asked({ 'Content-Type': 'application/json' }), method === 'PUT' ? '{}' : undefined);
});

await test('a body of 1,048,576 bytes, and one more', async () => {
	const body = (size) => `{"tokens":["${client}"],"x":"${'x'.repeat(size - client.length - 22)}"}`;
	assert.equal(body(1000).length, 1000);
	assertStatus(await same('POST', '/edge/validate', asked({ 'Content-Type': 'application/json' }), body(1048576)), 200);
	assertStatus(await same('POST', '/edge/validate', asked({ 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' }), chunked(Buffer.from(body(1048576)), 60000)), 200);
	const whole = requestBytes('POST', '/edge/validate', { 'Content-Type': 'application/json' }, body(1048577));
	// authd refuses it by its head, and takes no more
	for (const [at, bytes] of [[env.BASE_URL, whole], [fast, whole], [direct, whole.subarray(0, 200)]]) {
		const [answer] = await exchange(bytes, ['POST'], at);
		assertStatus(answer, 413);
		assert.match(answer.text, /Send at most 1048576 bytes: ask for the secrets in several calls\./);
	}
	const [answer] = await exchange(requestBytes('POST', '/edge/validate', { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' }, chunked(Buffer.from(body(1100000)), 60000)), ['POST'], direct);
	assertStatus(answer, 413);
});

await test('/health of authd itself', async () => {
	for (const [method, target] of [['GET', '/health'], ['HEAD', '/health'], ['GET', '/health?write=1'], ['POST', '/health'], ['OPTIONS', '/health'], ['GET', '/health/']])
		assert.equal(bare(await send(method, target, {}, undefined, direct)), bare(await send(method, target, {})), `${method} ${target}`);
});

await test('authd has nothing else, whoever asks', async () => {
	const secret = await make({ projects: ['lane'], environment: 'development' });
	for (const [method, target, body] of [['GET', TOKENS], ['POST', TOKENS, JSON.stringify(minimal())], ['DELETE', `${TOKENS}/${secret}`], ['POST', `${TOKENS}/${secret}/rotate`, '{}'], ['GET', '/'], ['GET', '/docs/openapi.json'], ['GET', '*'], ['GET', ''], ['GET', '/metrics/'], ['GET', '/metricsx']])
		assertStatus(await send(method, target || '/x', jsonKeyed(), body, direct), 404);
	assertStatus(await send('GET', '/auth', { Authorization: secret }, undefined, direct), 204);
});

await test('without authd nginx says that it is not available, and everything else goes on', async () => {
	const gone = process.env.GONE_URL;
	for (const [method, target, headers, body] of [['GET', '/auth', { Authorization: client }], ['HEAD', '/auth', {}], ['POST', '/edge/validate', { 'Content-Type': 'application/json' }, '{"tokens":[]}']]) {
		const answer = await send(method, target, headers, body, gone);
		assertStatus(answer, 503);
		assert.equal(answer.header('Retry-After'), '1');
		if (method !== 'HEAD') assertRefusal(answer, 503, 'UnavailableError');
	}
	// written like this it goes to PostgREST
	assertStatus(await send('GET', '/auth/', { Authorization: client }, undefined, gone), 204);
	assertStatus(await send('GET', TOKENS, keyed(), undefined, gone), 200);
});

await test('a limit is the same one for both, with the same words', async () => {
	const limited = () => make({ projects: ['lane'], environment: 'development', rateLimit: { limit: 2, period: 3600 } });
	const [one, other, third] = [await limited(), await limited(), await limited()];
	const counts = (text) => text.replace(/t=\d+/, 't=*').replace(/Retry-After: \d+/, 'Retry-After: *').replace(/\d+ seconds?/g, '* seconds');
	for (let i = 0; i < 4; i++) {
		const slow = await send('GET', '/auth', { Authorization: one });
		assert.equal(counts(plain(await send('GET', '/auth', { Authorization: other }, undefined, fast))), counts(plain(slow)));
		assertStatus(slow, i < 2 ? 204 : 429);
	}
	const mixed = [];
	for (const at of [env.BASE_URL, fast, direct]) mixed.push((await send('GET', '/auth', { Authorization: third }, undefined, at)).status);
	assert.deepEqual(mixed, [204, 204, 429]);
});

await test('an address counts as nginx tells it, and the client can tell none', async () => {
	for (const at of [env.BASE_URL, fast]) {
		assertStatus(await send('GET', '/auth', { Authorization: bound, 'X-Original-Address': '192.0.2.1', 'X-Forwarded-For': '192.0.2.1' }, undefined, at), 401);
		assertStatus(await send('GET', '/auth', { Authorization: here }, undefined, at), 204);
	}
	for (const [address, status] of [['192.0.2.1', 204], ['10.0.0.1, 192.0.2.1', 204], ['192.0.2.1, 10.0.0.1', 401], ['10.0.0.1,10.0.0.2, 192.0.2.1', 204], ['10.0.0.1, 192.0.2.1, 10.0.0.2', 401], ['', 401], ['x', 401]])
		assertStatus(await send('GET', '/auth', { Authorization: bound, 'X-Original-Address': address }, undefined, direct), status);
	assertStatus(await send('GET', '/auth', { Authorization: bound }, undefined, direct), 401);
});

// While others ask all the time, so that calls are under way when a token goes.
await test('what was deleted is refused by the next request', async () => {
	let going = true;
	const load = Promise.all([fast, direct].flatMap((at) => Array.from({ length: 4 }, async () => {
		while (going) assertStatus(await send('GET', '/auth', { Authorization: client }, undefined, at), 204);
	})));
	const count = Number(process.env.REVOCATIONS ?? 100);
	await Promise.all(Array.from({ length: 4 }, async (_, i) => {
		for (let left = count / 4; left > 0; left--) {
			const secret = await make({ projects: ['lane'], environment: 'development' });
			const at = [fast, direct][(i + left) % 2];
			assertStatus(await send('GET', '/auth', { Authorization: secret }, undefined, at), 204);
			assertStatus(await send('DELETE', `${TOKENS}/${secret}`, keyed()), 200);
			const [auth, edge] = await Promise.all([send('GET', '/auth', { Authorization: secret }, undefined, at),
				send('POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [secret] }), at)]);
			assertStatus(auth, 401);
			assert.deepEqual(edge.json, { tokens: [] });
		}
	}));
	going = false;
	await load;
	console.log(`figure: ${count} tokens deleted, and refused by the next request`);
});

await test('requests in one connection, one behind the other, and many connections at once', async () => {
	const one = requestBytes('GET', '/auth', { Authorization: client }), other = requestBytes('GET', '/auth', { Authorization: 'x' });
	for (const at of [fast, direct]) {
		const answers = await exchange(Buffer.concat(Array.from({ length: 50 }, (_, i) => i % 2 ? other : one)), Array(50).fill('GET'), at);
		assert.deepEqual(answers.map((answer) => answer.status), Array.from({ length: 50 }, (_, i) => i % 2 ? 401 : 204));
		const all = await Promise.all(Array.from({ length: 200 }, (_, i) => exchange(i % 2 ? other : one, ['GET'], at)));
		assert.deepEqual(all.map(([answer]) => answer.status), Array.from({ length: 200 }, (_, i) => i % 2 ? 401 : 204));
	}
});

// What a gateway may send, and what could be read as more or fewer requests than it meant: as the nginx of http/ takes it.
const raw = (method, lines, { target = '/auth?type=client', version = '1.1', key = client, body = '' } = {}) =>
	Buffer.from([`${method} ${target} HTTP/${version}`, ...lines, `Authorization: ${key}`, '', body].join('\r\n'));
const shown = (bytes) => bytes.toString().replaceAll(client, '*').slice(0, 200);
async function alike(bytes, says, method = 'GET') {
	const what = shown(bytes);
	assert.equal((await exchange(bytes, [method]))[0].status, says, what);
	assert.equal((await exchange(bytes, [method], direct, 5000))[0].status, says, `asked directly: ${what}`);
}
// All that comes until the connection is closed: the library says some of its own refusals in a form that is none.
const toTheEnd = (bytes, at) => new Promise((resolve, reject) => {
	const socket = net.connect(typeof at === 'string' && at.startsWith('/') ? at : { host: new URL(at).hostname, port: new URL(at).port });
	let text = '';
	socket.setTimeout(5000, () => socket.destroy() && reject(new Error(`it stays open: ${shown(bytes)}`)));
	socket.on('data', (data) => (text += data)).on('error', () => {}).on('close', () => resolve(text)).write(bytes);
});
async function refused(bytes) {
	for (const at of [env.BASE_URL, direct]) {
		const text = await toTheEnd(Buffer.concat([bytes, raw('GET', ['Host: x'])]), at);
		assert.match(text, /^HTTP\/1\.1 400 /, shown(bytes));
		assert.doesNotMatch(text, /^HTTP\/1\.1 (?!400)/m, 'a second request is answered');
	}
}

await test('asked directly: Host, Connection, Expect and the absolute form', async () => {
	for (const lines of [['Host: x'], ['Host: x', 'Connection: close'], ['Host: x', 'Connection: TE, Close'], ['Host: x', 'Connection: Upgrade', 'Upgrade: websocket'], ['Host: x', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk'],
		['Host: x', 'Expect: 100-continue'], ['Host: x', 'Expect: something'], ['Host: x', 'Range: bytes=0-1', 'If-None-Match: *', 'Prefer: x', 'Accept: text/html', 'Cookie: a; =; b=c', 'Cookie: d']]) {
		await alike(raw('GET', lines), 204);
		await alike(raw('HEAD', lines), 204, 'HEAD');
		await alike(raw('POST', [...lines, 'Content-Length: 5'], { body: 'hello' }), 204, 'POST');
		await alike(raw('GET', lines, { key: 'x' }), 401);
	}
	for (const lines of [[], ['Connection: keep-alive'], ['Host: x']]) await alike(raw('GET', lines, { version: '1.0' }), 204);
	for (const lines of [[], ['Host:'], ['Host: x', 'Host: x'], ['Host: x', 'Host: y']]) await refused(raw('GET', lines));
	for (const [target, says] of [['http://localhost/auth', 204], ['HTTPS://localhost:8443/auth?type=client', 204], ['http://[::1]:80/auth?type=admin', 403], ['http://localhost/auth?path=http://x/y', 204]])
		for (const method of ['GET', 'HEAD', 'POST']) await alike(raw(method, ['Host: localhost', 'Content-Length: 0'], { target }), says, method);
	for (const target of ['http://localhost', 'http://localhost?type=client', 'http://localhost/', 'http:/auth', 'http:///auth'])
		assert.ok((await exchange(raw('GET', ['Host: x'], { target }), ['GET'], direct))[0].status >= 400, target);
});

await test('asked directly: what could be two requests is refused, and ends the connection', async () => {
	const chunks = '0\r\n\r\n';
	for (const [lines, body, more] of [
		[['Content-Length: 5', 'Transfer-Encoding: chunked'], chunks], [['Transfer-Encoding: chunked', 'Content-Length: 5'], chunks], [['Transfer-Encoding: gzip, chunked'], chunks], [['Transfer-Encoding: identity'], ''], [['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], chunks],
		[['Transfer-Encoding: chunked'], chunks, { version: '1.0' }], [['Content-Length: 5', 'Content-Length: 6'], 'hello'], [['Content-Length: 5', 'Content-Length: 5'], 'hello'], [['Content-Length : 5'], 'hello'], [['X-Anything : 1'], ''], [['Content-Length: -5'], 'hello'], [['Content-Length: 5x'], 'hello'],
	]) {
		await refused(raw('POST', ['Host: x', ...lines], { body, ...more }));
	}
	await alike(raw('POST', ['Host: x', 'Transfer-Encoding: CHUNKED'], { body: chunks }), 204, 'POST');
});

await test('asked directly: a head of 24 KB is answered, and a larger one refused', async () => {
	const seen = new Set();
	const ask = async (size, ...headers) => {
		// so near to its own limit that no answer fits behind the head, the library closes the connection
		const [{ status } = { status: 'closed' }] = await exchange(raw('GET', ['Host: x', ...headers], { key: long }), ['GET'], direct, 5000).catch((error) => assert.match(error.message, /closed early; received ""/) ?? []);
		if (size <= 24000) assert.equal(status, 204, `${size} bytes`);
		if (size >= 29000) assert.notEqual(status, 204, `${size} bytes`);
		if (size <= 31000) assert.notEqual(status, 'closed', `${size} bytes`);
		seen.add(status);
	};
	for (let size = 20000; size < 36000; size += 97) await ask(size, `X-One: ${'x'.repeat(size - 200)}`);
	for (let count = 10; count < 600; count += 7) await ask(count * 75, ...Array.from({ length: count }, (_, i) => `X-${i}: y`));
	for (const status of [204, 400, 431]) assert.ok(seen.has(status), status);
	assert.ok([...seen].every((status) => [204, 400, 431, 'closed'].includes(status)), [...seen]);
});

await test('/metrics counts', async () => {
	const text = (await send('GET', '/metrics', {}, undefined, direct)).text;
	const value = (name) => Number(text.match(new RegExp(`^unleash_tokens_authd_${name} (\\S+)$`, 'm'))?.[1]);
	assert.ok(value('called_requests_total') > value('calls_total'), 'several requests in a call');
	assert.equal(value('up'), 1);
	assert.equal(value('waiting'), 0);
	assert.equal(value('failed_total'), 0);
	assert.ok(value('answers_total{status="204"}') > 100);
	assert.ok(!text.includes(client));
});

console.log(`figure: ${compared} requests compared: ${[...statuses].sort().map(([status, n]) => `${status} ${n} times`).join(', ')}`);
finish();
