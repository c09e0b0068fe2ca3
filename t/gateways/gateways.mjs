#!/usr/bin/env node
// Does each gateway, with the recipe that doc/gateways.md gives for it, let through those who may and nobody else, whatever the
// authority does?

import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

import { assert, assertCreated, assertStatus, create, env, finish, freePort, minimal, poll, requestBytes, root, run, send, setSystem, skip, sql, test, useEnv } from '../http/lib.mjs';
import { as, makeDirectory } from '../authd/lib.mjs';

useEnv();
process.env.PATH += ':/usr/local/sbin:/usr/sbin:/sbin';
const dir = mkdtempSync(path.join(os.tmpdir(), 'unleash_gateways.'));
chmodSync(dir, 0o755); // nginx asks at a socket in it as another user
const doc = readFileSync(path.join(root, 'doc/gateways.md'), 'utf8');
const recipes = Object.fromEntries([...doc.matchAll(/^```(nginx|caddy|lua|haproxy|haproxy-servers|authd)\n(.*?)^```/gms)].map(([, name, text]) => [name, text]));
// the line of each recipe that is another where authd is asked
const lines = Object.fromEntries([...doc.matchAll(/^\| (nginx|caddy|haproxy) \| `(.*)` \| `(.*)` \|$/gim)].map(([, name, from, to]) => [name.toLowerCase(), { from, to }]));

const listen = (server, port = 0) => new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server.address().port)));

// ---- The service, which tells what it was sent ------------------------------------------------------------------------

let served = 0;
const service = http.createServer((request, response) => {
	served++;
	let body = '';
	request.on('data', (data) => (body += data));
	request.on('end', () => {
		response.writeHead(request.url === '/fails' ? 500 : 200, { 'Content-Type': 'application/json', 'X-Service': 'yes' });
		response.end(JSON.stringify({ method: request.method, url: request.url, headers: request.headers, body }));
	});
});
service.on('upgrade', (request, socket) => {
	served++;
	socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Name: ${request.headers['x-token-name'] ?? ''}\r\n\r\n`);
	socket.pipe(socket);
	socket.on('error', () => {});
});
const servicePort = await listen(service);

// ---- The way to the authority, which can be cut -----------------------------------------------------------------------

const nginx = { host: new URL(env.BASE_URL).hostname, port: new URL(env.BASE_URL).port };
let authority = nginx, behind = [nginx, nginx]; // or authd; what is behind each way
let mode = 'pass', asked = [];
const sockets = new Set();
function takeConnection(socket, number) {
	sockets.add(socket);
	socket.on('close', () => sockets.delete(socket)).on('error', () => {});
	if (mode === 'close') return socket.destroy();
	let head = '', answered = false;
	socket.on('data', (data) => {
		head += data.toString('latin1');
		asked.push(data.toString('latin1'));
		if (!/\r\n\r\n/.test(head) || answered) return;
		if (mode === 'limited') {
			answered = true;
			socket.end('HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 7\r\nRateLimit-Policy: "token";q=5;w=60\r\nRateLimit: "token";r=0;t=7\r\nContent-Length: 28\r\nConnection: close\r\n\r\n{"name":"TooManyRequests"}  ');
		}
	});
	if (mode !== 'pass') return;
	const there = net.connect(behind[number]);
	there.on('error', () => socket.destroy()).on('close', () => socket.destroy());
	socket.on('close', () => there.destroy());
	socket.pipe(there).pipe(socket);
}
async function wayIs(next) {
	mode = next;
	for (const socket of sockets) socket.destroy();
	if (mode === 'refuse') await Promise.all(ways.map((way) => new Promise((resolve) => way.close(resolve))));
	else if (!ways[0].listening) await openWays();
}
const ways = [0, 1].map((number) => net.createServer((socket) => takeConnection(socket, number))), wayPath = path.join(dir, 'way.sock');
let wayPort = 0;
async function openWays() {
	wayPort = await listen(ways[0], wayPort);
	await new Promise((resolve) => ways[1].listen({ path: wayPath, writableAll: true }, resolve));
}
await openWays();

// ---- The gateways -----------------------------------------------------------------------------------------------------

// The recipe, with another line where authd is asked, and with places that are free here.
function recipe(name, direct) {
	if (!direct) return recipes[name];
	const { from, to } = lines[name];
	assert.equal(recipes[name].split(from).length, 2, from);
	return recipes[name].replace(from, to);
}
const placed = (text, port) => text.replace(/127\.0\.0\.1:808[02]/g, `127.0.0.1:${wayPort}`).replaceAll('/run/unleash_tokens-authd/authd.sock', wayPath).replaceAll('127.0.0.1:9000', `127.0.0.1:${servicePort}`)
	.replace('listen 80;', `listen 127.0.0.1:${port};`).replace(/^:80 \{/m, `http://:${port} {\n\tbind 127.0.0.1`).replace('bind :80', `bind 127.0.0.1:${port}`)
	.replace('/etc/haproxy', dir).replaceAll('abns@token_authority', `abns@unleash_${port}`);
const write = (name, text) => writeFileSync(path.join(dir, name), text) ?? path.join(dir, name);
const commands = {
	nginx(port, direct) {
		mkdirSync(path.join(dir, `tmp${port}`));
		const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((one) => `${one}_temp_path tmp${port}/${one};`).join(' ');
		const file = write(`nginx${port}.conf`, `pid nginx${port}.pid; error_log stderr; events {} http { access_log off; ${temporary}\n${placed(recipe('nginx', direct), port)} }`);
		return ['nginx', '-e', 'stderr', '-p', dir, '-c', file, '-g', 'daemon off;'];
	},
	caddy: (port, direct) => ['caddy', 'run', '--adapter', 'caddyfile', '--config', write(`Caddyfile${port}`, `{\n\tadmin off\n\tauto_https off\n}\n${placed(recipe('caddy', direct), port)}`)],
	haproxy(port, direct) {
		write('token.lua', placed(recipes.lua, port));
		return ['haproxy', '-db', '-f', write(`haproxy${port}.cfg`, placed(recipe('haproxy', direct), port))];
	},
};
// one that can make tokens, and one that is not there
const beforeServers = (port) => ['haproxy', '-db', '-f', write('servers.cfg', `defaults\n mode http\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n${
	recipes['haproxy-servers'].replace('bind :8081', `bind 127.0.0.1:${port}`).replace('10.0.0.1:8080', `127.0.0.1:${wayPort}`).replace('10.0.0.2:8080', '127.0.0.1:1')}`)];

const running = [];
async function startProgram(name, command, at, more = {}) {
	const child = spawn(command[0], command.slice(1), { env: { ...process.env, HOME: dir, XDG_CONFIG_HOME: dir, XDG_DATA_HOME: dir }, stdio: ['ignore', 'pipe', 'pipe'], ...more });
	let log = '';
	for (const out of [child.stdout, child.stderr]) out.on('data', (data) => (log += data));
	running.push(child);
	await poll(`${name} listens`, 20000, () => {
		if (child.exitCode !== null) throw Object.assign(new Error(`${name} ended: ${log}`), { final: true });
		return send('GET', '/', {}, undefined, at).then(() => true, () => false);
	});
}
async function startGateway(program, direct = false, composed = commands[program]) {
	const port = await freePort(), at = `http://127.0.0.1:${port}`;
	await startProgram(program, composed(port, direct), at);
	return { program, name: direct ? `${program} and authd` : program, at };
}
// With the settings that the recipes have for it, and its database: at a port, and at a socket.
async function startAuthd() {
	const place = path.join(dir, 'authd'), socket = path.join(place, 'authd.sock'), port = await freePort();
	makeDirectory(place);
	const database = `database = host=${env.PGHOST} port=${env.PGPORT} dbname=${env.PGDATABASE} user=unleash_tokens_auth\n`;
	const settings = recipes.authd.replace('/run/unleash_tokens-authd/authd.sock', socket) + database;
	assert.ok(settings.includes(`unix:${socket}`) && doc.includes('`listen = 127.0.0.1:8082`'));
	await startProgram('authd', [process.env.AUTHD, '--config', write('authd.conf', settings)], socket, as);
	const other = write('authd-port.conf', settings.replace(`unix:${socket}`, `127.0.0.1:${port}`));
	await startProgram('authd', [process.env.AUTHD, '--config', other], `http://127.0.0.1:${port}`, as);
	return [{ host: '127.0.0.1', port }, { path: socket }];
}
const installed = (name) => {
	try {
		return execFileSync('sh', ['-c', `command -v ${name}`]) && true;
	} catch {
		return false;
	}
};

// ---- What each must do ------------------------------------------------------------------------------------------------

const made = async (more) => (await assertCreated(await create(minimal(more)))).secret;
const good = await made({ type: 'client', environment: 'production', projects: ['default'], tokenName: `${run} gäte, way%` });
const bad = await made({ type: 'client', environment: 'development' });
await sql(`INSERT INTO unleash_tokens.project (id) SELECT 'gateway-' || repeat('x', 80) || i FROM generate_series(1, 60) AS i ON CONFLICT DO NOTHING`);
const broad = await made({ type: 'client', environment: 'production', expiresAt: '2099-12-31T23:00:00Z', projects: Array.from({ length: 60 }, (_, i) => `gateway-${'x'.repeat(80)}${i + 1}`) });

const key = (secret, more = {}) => ({ Authorization: secret, ...more });
const names = ['X-Token-Name', 'X-Token-Type', 'X-Token-Environment', 'X-Token-Projects', 'X-Token-Expires-At', 'X-Token-Selector', 'X-Token-Anything'];

// Refused without a word to the service, and with the header that says when to come again.
async function assertLater(at, status, seconds) {
	const before = served, start = Date.now();
	const answer = await send('GET', '/orders', key(good), undefined, at);
	const took = Date.now() - start;
	assert.equal(answer.status, status, answer.head);
	assert.deepEqual(answer.headers('Retry-After'), [seconds], answer.head);
	assert.equal(answer.headers('X-Service').length, 0);
	assert.equal(served, before, 'the service was asked');
	assert.ok(took < 3000, `it took ${took} ms`);
	return answer;
}

async function check({ program, name, at }) {
	await test(`${name}: who may passes, with Bearer and without`, async () => {
		for (const sent of [good, `Bearer ${good}`]) {
			const answer = await send('GET', '/orders/1?x=1', key(sent), undefined, at);
			assert.equal(answer.status, 200, answer.text);
			const { headers, url, method } = answer.json;
			assert.deepEqual([method, url], ['GET', '/orders/1?x=1']);
			assert.deepEqual([headers['x-token-type'], headers['x-token-environment'], headers['x-token-projects'], headers['x-token-expires-at']], ['client', 'production', 'default', 'never']);
			assert.equal(decodeURIComponent(headers['x-token-name']), `${run} gäte, way%`);
			assert.ok(!JSON.stringify(answer.json).includes(good), 'the key went on to the service');
		}
	});
	await test(`${name}: POST with a body, PUT and HEAD pass`, async () => {
		const post = await send('POST', '/orders', key(good, { 'Content-Type': 'text/plain' }), 'some text', at);
		assert.deepEqual([post.status, post.json.method, post.json.body], [200, 'POST', 'some text']);
		assert.equal((await send('PUT', '/orders', key(good), 'x', at)).json.method, 'PUT');
		const head = await send('HEAD', '/orders', key(good), undefined, at);
		assert.deepEqual([head.status, head.headers('X-Service'), head.bytes.length], [200, ['yes'], 0]);
	});
	await test(`${name}: nobody else passes`, async () => {
		const before = served;
		for (const [headers, status] of [[{}, 401], [key('none'), 401], [key(`${good}x`), 401], [key(bad), 403], [key(env.ADMIN_TOKEN), 403]])
			for (const method of ['GET', 'HEAD', 'POST', 'OPTIONS']) {
				const answer = await send(method, '/orders', headers, method === 'POST' ? 'x' : undefined, at);
				assert.equal(answer.status, status, `${method} ${answer.head}`);
				if (status === 401) assert.match(answer.header('WWW-Authenticate') ?? '', /^Bearer/, answer.head);
			}
		assert.equal(served, before, 'the service was asked');
	});
	await test(`${name}: who the caller is comes from the authority alone`, async () => {
		const forged = Object.fromEntries([...names, 'X_Token_Name', 'X_Token_Projects', 'x-token-type'].map((one) => [one, 'forged']));
		const answer = await send('GET', '/', key(good, forged), undefined, at);
		assert.equal(answer.status, 200);
		for (const [one, value] of Object.entries(answer.json.headers)) {
			assert.doesNotMatch(one, /_/);
			// a name the authority does not set: dropped, or at least none of those the service is told of
			if (!/^x-token-(selector|anything)$/.test(one) || program !== 'nginx') assert.notEqual(value, 'forged', one);
		}
		const twice = await send('GET', '/', [['Authorization', good], ['X-Token-Name', 'forged'], ['X-Token-Name', 'forged too']], undefined, at);
		assert.ok(!twice.text.includes('forged'), twice.text);
	});
	await test(`${name}: a token of many projects, and large headers of the client`, async () => {
		const answer = await send('GET', '/', key(broad, { Cookie: `a=${'b'.repeat(4000)}`, 'X-Token-Projects': 'forged' }), undefined, at);
		assert.equal(answer.status, 200, answer.text);
		assert.equal(answer.json.headers['x-token-projects'], '(too many)');
		assert.equal(answer.json.headers['x-token-expires-at'], '2099-12-31T23:00:00.000Z');
		assert.equal(answer.json.headers.cookie.length, 4002);
	});
	await test(`${name}: an upgrade is passed through, and asked for first`, async () => {
		const upgrade = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version': '13' };
		assert.equal((await send('GET', '/ws', upgrade, undefined, at)).status, 401);
		const told = await new Promise((resolve, reject) => {
			const socket = net.connect(new URL(at).port, '127.0.0.1');
			let text = '';
			socket.setTimeout(5000, () => reject(new Error(`no echo: ${text}`)) || socket.destroy());
			socket.on('error', reject).on('data', (data) => {
				text += data;
				if (/\r\n\r\n$/.test(text)) socket.write('echo this');
				if (text.endsWith('echo this')) resolve(text) || socket.destroy();
			});
			socket.write(requestBytes('GET', '/ws', key(good, upgrade)));
		});
		assert.match(told, /^HTTP\/1\.1 101 /);
		assert.match(told, /x-name: \S/i);
	});
	await test(`${name}: Expect passes, and a head that is too large is refused`, async () => {
		assert.equal((await send('POST', '/orders', key(good, { Expect: '100-continue' }), 'some text', at)).json?.body, 'some text');
		for (const size of [23000, 29500, 31800, 40000, 70000])
			for (const [headers, asked] of [[key(good), 200], [{}, 401]]) {
				const before = served, { status } = await send('GET', '/', { ...headers, 'X-One': 'x'.repeat(size) }, undefined, at);
				assert.ok([asked, 400, 431, 503].includes(status), `${status} with ${size} bytes`);
				assert.equal(served - before, status === 200 ? 1 : 0);
			}
	});
	await test(`${name}: a token that is used too often is told its limit`, async () => {
		const { secret: often } = (await create(minimal({ type: 'client', environment: 'production', rateLimit: { limit: 1, period: 3600 } }))).json;
		assert.equal((await send('GET', '/', key(often), undefined, at)).status, 200);
		const before = served, answer = await send('GET', '/', key(often), undefined, at);
		assert.equal(answer.status, 429, answer.head);
		assert.ok(Number(answer.header('Retry-After')) > 3500, answer.head);
		assert.match(`${answer.headers('RateLimit-Policy')} ${answer.headers('RateLimit')}`, /^"token";q=1;w=3600 "token";r=0;t=3\d{3}$/);
		assert.equal(served, before, 'the service was asked');
	});
	await test(`${name}: the authority is sent the key, and nothing else of the client's`, async () => {
		asked = [];
		await wayIs('pass');
		await send('POST', '/orders', key(good, { Cookie: 'session=1', 'Content-Type': 'text/plain' }), 'a body of the client', at);
		const text = asked.join('');
		assert.ok(text.includes(good));
		assert.doesNotMatch(text, /session=1|a body of the client/);
	});
	await test(`${name}: an error of the service is the service's`, async () => {
		const answer = await send('GET', '/fails', key(good), undefined, at);
		assert.deepEqual([answer.status, answer.headers('X-Service')], [500, ['yes']]);
	});
	for (const [how, what] of [['refuse', 'refuses connections'], ['close', 'closes connections'], ['hang', 'hangs']])
		await test(`${name}: the authority ${what}: 503 with Retry-After, in time`, async () => {
			await wayIs(how);
			try {
				for (let i = 0; i < 2; i++) await assertLater(at, 503, '1');
			} finally {
				await wayIs('pass');
			}
			await poll('it works again', 10000, async () => (await send('GET', '/', key(good), undefined, at)).status === 200);
		});
	await test(`${name}: 429 is passed on with Retry-After and the limit`, async () => {
		await wayIs('limited');
		try {
			const answer = await assertLater(at, 429, '7');
			assert.deepEqual([...answer.headers('RateLimit-Policy'), ...answer.headers('RateLimit')], ['"token";q=5;w=60', '"token";r=0;t=7'], answer.head);
		} finally {
			await wayIs('pass');
		}
	});
}

// Does the authority believe the gateways what they say of the client's address?  With the lines of http/place-server.conf that it has for them.
async function believeGateways() {
	const file = path.join(env.PGHOST, 'place-server.conf'), before = readFileSync(file, 'utf8');
	const lines = [...readFileSync(path.join(root, 'http/place-server.conf'), 'utf8').matchAll(/^# ((?:set_real_ip_from|real_ip_\w+) .*)$/gm)].map(([, line]) => line.replace('10.0.0.2', '127.0.0.1'));
	const reload = (text) => writeFileSync(file, text) ?? process.kill(Number(readFileSync(path.join(env.PGHOST, 'nginx.pid'), 'utf8')), 'SIGHUP');
	assert.equal(lines.length, 3);
	reload(before + lines.join('\n') + '\n');
	return () => reload(before);
}
async function checkAddresses(there) {
	const { secret: near } = (await create(minimal({ type: 'client', environment: 'production', allowedIps: ['127.0.0.2/32'] }))).json;
	const from = (localAddress, at) => ({ host: '127.0.0.1', port: new URL(at).port, localAddress });
	const ask = async (at, headers = {}) => (await send('GET', '/auth', key(near, headers), undefined, at)).status;
	const doubt = authority === nginx ? await believeGateways() : () => {};
	try {
		await poll('the authority believes', 10000, async () => (await ask(authority, { 'X-Forwarded-For': '127.0.0.2' })) === 204);
		for (const { name, at } of there)
			await test(`${name}: allowedIps means the address of the client, whatever he says of it`, async () => {
				assert.equal(await ask(from('127.0.0.2', at)), 200);
				assert.equal(await ask(from('127.0.0.1', at)), 401);
				for (const one of ['X-Forwarded-For', 'X-Real-IP', 'Forwarded', 'X-Original-Address'])
					for (const value of ['127.0.0.2', '127.0.0.2, 127.0.0.1', 'for=127.0.0.2'])
						assert.equal(await ask(from('127.0.0.1', at), { [one]: value }), 401, `${one}: ${value}`);
				assert.equal(await ask(from('127.0.0.2', at), { 'X-Forwarded-For': '127.0.0.3' }), 200);
			});
	} finally {
		doubt();
	}
	if (authority === nginx) await poll('the authority believes nobody', 10000, async () => (await ask(authority, { 'X-Forwarded-For': '127.0.0.2' })) === 401);
}

// The authority's own 503: its database is gone.  All gateways at once, since PostgREST waits long before it tries again.
async function checkWithoutDatabase(there) {
	const socket = path.join(env.PGHOST, `.s.PGSQL.${env.PGPORT}`);
	const health = async () => (await send('GET', '/health', {}, undefined, authority)).status;
	await sql('SELECT 1');
	renameSync(socket, `${socket}.away`);
	try {
		await sql(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename IN ('unleash_tokens_authenticator', 'unleash_tokens_auth')`);
		await poll('the authority notices', 15000, async () => (await health()) === 503);
		for (const { name, at } of there)
			await test(`${name}: the authority is without its database: its 503 with Retry-After`, async () => assertLater(at, 503, (await send('GET', '/auth', key(good), undefined, authority)).header('Retry-After')));
	} finally {
		renameSync(`${socket}.away`, socket);
		await poll('the authority is back', 60000, async () => (await health()) === 200);
	}
	for (const { name, at } of there)
		await test(`${name}: it works again, and a deleted token is refused by the next request`, async () => {
			await poll('it works again', 60000, async () => (await send('GET', '/', key(good), undefined, at)).status === 200);
			const gone = await made({ type: 'client', environment: 'production' });
			assert.equal((await send('GET', '/', key(gone), undefined, at)).status, 200);
			await poll('the way to the tokens is back', 60000, async () => (await send('DELETE', `/api/admin/api-tokens/${gone}`, key(env.ADMIN_TOKEN))).status === 200);
			assert.equal((await send('GET', '/', key(gone), undefined, at)).status, 401);
		});
}

async function checkServers() {
	const { at } = await startGateway('haproxy', false, beforeServers);
	const isUp = async () => (await send('GET', '/health', {}, undefined, at)).status === 200;
	await test('haproxy before servers: asks the one that can make tokens, and none while there is none', async () => {
		await poll('it has looked', 15000, isUp);
		for (let i = 0; i < 10; i++) assertStatus(await send('GET', '/api/admin/api-tokens', key(env.ADMIN_TOKEN), undefined, at), 200);
		const back = await setSystem('default_transaction_read_only', 'on');
		try {
			await poll('it has noticed', 15000, async () => (await send('GET', '/health', {}, undefined, at)).status === 503);
			assertStatus(await send('GET', '/health'), 200);
		} finally {
			await back();
		}
		await poll('it is back', 15000, isUp);
	});
}

try {
	const here = Object.keys(commands).filter((name) => installed(name) || skip(name, 'its package could not be installed'));
	for (const direct of [false, true]) {
		if (direct && !process.env.AUTHD) {
			skip('authd asked directly', 'libmicrohttpd could not be installed');
			continue;
		}
		if (direct) [authority] = behind = await startAuthd();
		const there = [];
		for (const name of here) there.push(await startGateway(name, direct));
		for (const gateway of there) await check(gateway);
		await checkAddresses(there);
		await checkWithoutDatabase(there);
		if (!direct && here.includes('haproxy')) await checkServers();
	}
} finally {
	for (const child of running) {
		child.kill('SIGTERM');
		await poll('the gateway has ended', 10000, () => child.exitCode !== null || child.signalCode !== null);
	}
	await wayIs('pass');
	for (const way of ways) way.close();
	service.close();
	service.closeAllConnections();
	for (const socket of sockets) socket.destroy();
	rmSync(dir, { recursive: true });
}
finish();
