// authd with a PostgreSQL that is not there, is lost, is paused or is slow, and with clients that are.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import { assert, finish, poll, requestBytes, test } from '../http/lib.mjs';
import { assertUnavailable, Authd, connection, only, pause, PG_RUN, Postgres, withAuthd } from './lib.mjs';

const postgres = new Postgres();
const psql = (query) => postgres.psql(query);
const secret = postgres.make();
Authd.key = secret;

// ---- PostgreSQL goes and comes --------------------------------------------------------------------------------------

await test('a call that is cut in its middle is asked again on another connection', () => withAuthd({}, async (authd) => {
	await authd.up();
	const unlock = await postgres.lock();
	const answers = Promise.all(Array.from({ length: 20 }, () => authd.auth()));
	for (let i = 0; i < 3; i++) {
		await poll('it waits', 20000, async () => postgres.waiting() > 0);
		psql(`SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'unleash_tokens_auth'`);
	}
	await poll('it waits again', 20000, async () => postgres.waiting() > 0);
	await unlock();
	only(await answers, 204);
	assert.ok(await authd.metric('lost_total') >= 3);
}));

// Between authd and PostgreSQL, and cuts what goes through it.
async function withRelay(body) {
	const dir = `${PG_RUN}/relay`, open = new Set();
	mkdirSync(dir);
	const relay = net.createServer((client) => {
		const server = net.connect(`${PG_RUN}/.s.PGSQL.5432`);
		for (const [one, other] of [[client, server], [server, client]]) one.pipe(other).on('error', () => {});
		open.add(client).add(server);
	});
	await new Promise((resolve) => relay.listen(`${dir}/.s.PGSQL.5432`, resolve));
	spawnSync('chmod', ['777', dir, `${dir}/.s.PGSQL.5432`]);
	const cut = () => { for (const one of open) one.destroy(); open.clear(); };
	try {
		await withAuthd({ connections: 1, database: connection(`options='-c lock_timeout=60s'`, dir) }, (authd) => body(authd, cut));
	} finally {
		cut();
		relay.close();
	}
}

await test('a call whose connection is lost without a word is asked once more, and no oftener', () => withRelay(async (authd, cut) => {
	await authd.up();
	for (const [cuts, status] of [[1, 204], [2, 503]]) {
		const unlock = await postgres.lock(), before = await authd.metric('calls_total');
		const answer = authd.auth();
		for (let i = 1; i <= cuts; i++) {
			await poll('it is asked', 20000, async () => (await authd.metric('calls_total')) === before + i);
			cut();
		}
		if (status === 503) assertUnavailable(await answer);
		await poll('there is another connection', 20000, async () => (await authd.metric('up')) === 1);
		await unlock();
		assert.equal((await answer).status, status);
		assert.equal(await authd.metric('calls_total'), before + 2);
	}
}));

await test('a call that ends in an error is 503 for its requests, and the connection is made anew', () => withAuthd({ connections: 1 }, async (authd) => {
	await authd.up();
	psql('REVOKE EXECUTE ON FUNCTION unleash_tokens.authorize_many(bytea[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[]) FROM unleash_tokens_auth');
	assertUnavailable(await authd.auth());
	psql('GRANT EXECUTE ON FUNCTION unleash_tokens.authorize_many(bytea[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[]) TO unleash_tokens_auth');
	await authd.up();
	assert.match(authd.log, /SQLSTATE 42501/);
}));

await test('a request that cannot be written in the encoding of the database harms none that come with it', async () => {
	const latin = postgres.make({}, 'latin');
	await withAuthd({ database: `host=${PG_RUN} port=5432 dbname=latin user=unleash_tokens_auth`, connections: 1 }, async (authd) => {
		await poll('it answers', 10000, async () => (await authd.auth(latin)).status === 204);
		const unlock = await postgres.lock('latin');
		const first = authd.auth(latin);
		await poll('it waits', 20000, async () => postgres.waiting() > 0);
		const calls = await authd.metric('calls_total');
		const rest = Promise.all(Array.from({ length: 21 }, (_, i) => i % 3 === 1 ? authd.auth('\u{1f511}') : authd.auth(latin)));
		await poll('all wait', 20000, async () => (await authd.metric('waiting')) === 22);
		await unlock();
		assert.equal((await first).status, 204);
		assert.deepEqual((await rest).map((answer) => answer.status), Array.from({ length: 21 }, (_, i) => i % 3 === 1 ? 503 : 204));
		assert.equal(await authd.metric('calls_total'), calls + 1, 'they came in one call');
	});
});

await test('no answer in time is 503, and the server gets a new connection', () => withAuthd({ deadline: 400 }, async (authd) => {
	await authd.up();
	const unlock = await postgres.lock();
	const start = Date.now();
	for (const answer of await Promise.all(Array.from({ length: 30 }, () => authd.auth()))) assertUnavailable(answer);
	assert.ok(Date.now() - start < 3000);
	assert.ok(await authd.metric('too_late_total') >= 30);
	await unlock();
	await authd.up();
}));

await test('a server that is paused: 503 in time, and answers when it goes on', () => withAuthd({ deadline: 400 }, async (authd) => {
	await authd.up();
	const release = postgres.freeze();
	try {
		for (const answer of await Promise.all(Array.from({ length: 10 }, () => authd.auth()))) assertUnavailable(answer);
		assertUnavailable(await authd.auth());
	} finally {
		release();
	}
	await authd.up();
}));

await test('killed and restarted under load: what is answered is right or 503', () => withAuthd({ deadline: 5000 }, async (authd) => {
	await authd.up();
	const answers = [];
	let going = true;
	const load = Promise.all(Array.from({ length: 16 }, async (_, i) => {
		while (going) {
			const answer = await authd.auth(i % 4 === 3 ? 'x' : secret);
			answers.push([i % 4 === 3, answer]);
			if (answer.status === 503) await pause(20);
		}
	}));
	for (const signal of ['SIGQUIT', 'SIGINT', 'SIGKILL']) {
		await pause(150);
		await postgres.stop(signal);
		await poll('it says so', 10000, async () => (await authd.auth()).status === 503);
		await postgres.start();
		await authd.up();
	}
	going = false;
	await load;
	only(answers.filter(([bad]) => bad).map(([, answer]) => answer), 401, 503);
	const seen = only(answers.filter(([bad]) => !bad).map(([, answer]) => answer), 204, 503);
	console.log(`figure: killed three times under load: ${[...seen].map(([status, n]) => `${status} ${n} times`).join(', ')}`);
}));

await test('started before PostgreSQL: 503, then answers', async () => {
	await postgres.stop('SIGINT');
	await withAuthd({ deadline: 2000 }, async (authd) => {
		await poll('it listens', 20000, async () => existsSync(authd.socket));
		// what came before it was known waits, as long as a request may
		await poll('it says so at once', 15000, async () => {
			const start = Date.now();
			const answer = await authd.auth();
			assertUnavailable(answer);
			return Date.now() - start < 300;
		});
		assert.equal(await authd.metric('up'), 0);
		const tried = () => authd.log.split('lost PostgreSQL').length, before = tried();
		await pause(1000);
		assert.ok(tried() - before <= 20, 'each connection waits longer and longer before it tries again');
		await postgres.start();
		await authd.up();
		assert.equal(await authd.metric('up'), 1);
	});
});

// ---- Several hosts --------------------------------------------------------------------------------------------------

// A server that accepts and says nothing.
async function withSilent(body) {
	const dir = `${PG_RUN}/silent`;
	mkdirSync(dir);
	const silent = net.createServer(() => {});
	await new Promise((resolve) => silent.listen(`${dir}/.s.PGSQL.5432`, resolve));
	spawnSync('chmod', ['777', dir, `${dir}/.s.PGSQL.5432`]);
	try {
		await body(dir);
	} finally {
		silent.close();
		rmSync(dir, { recursive: true });
	}
}

await test('what waits for a server that says nothing is 503 in time', () => withSilent(async (dir) => {
	const times = [];
	for (let i = 0; i < 3; i++)
		await withAuthd({ database: connection('', dir), deadline: 300 }, async (authd) => {
			await poll('it listens', 20000, async () => (await authd.metric('up')) === 0);
			const start = Date.now();
			assertUnavailable(await authd.auth());		// one alone: whatever another does would move it on
			times.push(Date.now() - start);
			assert.equal(await authd.metric('too_late_total'), 1);
		});
	assert.ok(Math.min(...times) < 900, `${times} ms`);
}));

await test('of several hosts the first that is there is asked, also when one before it accepts and says nothing', () => withSilent(async (dir) => {
	for (const hosts of [`${PG_RUN}/nobody,${PG_RUN}`, `${PG_RUN}/nobody,${dir},${PG_RUN}`])
		await withAuthd({ database: connection('', hosts) }, (authd) => authd.up());
}));

await test('target_session_attrs keeps it from a server that does not write, until that does', async () => {
	psql('ALTER SYSTEM SET default_transaction_read_only = on');
	psql('SELECT pg_reload_conf()');
	await poll('read only', 20000, async () => psql('SHOW default_transaction_read_only') === 'on');
	const back = () => psql(['SET default_transaction_read_only = off', 'ALTER SYSTEM RESET default_transaction_read_only', 'SELECT pg_reload_conf()']);
	try {
		await withAuthd({}, (authd) => authd.up());
		await withAuthd({ database: connection('target_session_attrs=read-write'), deadline: 1000 }, async (authd) => {
			await poll('it is not asked', 10000, async () => (await authd.auth()).status === 503 && (await authd.metric('connected_total')) === 0);
			back();
			await authd.up();
		});
	} finally {
		back();
	}
});

// ---- Clients --------------------------------------------------------------------------------------------------------

await test('more requests than may wait are 503 at once, the others are answered', () => withAuthd({ queue: 10 }, async (authd) => {
	await authd.up();
	const unlock = await postgres.lock();
	let done = 0;
	const answers = Array.from({ length: 50 }, () => authd.auth().finally(() => done++));
	await poll('forty are refused', 20000, async () => done === 40);
	await unlock();
	assert.deepEqual([...only(await Promise.all(answers), 204, 503)].sort(), [[204, 10], [503, 40]]);
	assert.equal(await authd.metric('queue_full_total'), 40);
}));

await test('a stop answers what is under way, and takes no more', () => withAuthd({}, async (authd) => {
	await authd.up();
	const unlock = await postgres.lock();
	const answers = Promise.all(Array.from({ length: 20 }, () => authd.auth()));
	await poll('they wait', 20000, async () => (await authd.metric('waiting')) === 20);
	authd.child.kill('SIGTERM');
	await poll('nobody gets in any more', 20000, async () => authd.send('GET', '/metrics').then(() => false, () => true));
	await pause(1000);		// longer than it waits for clients that ask nothing
	await unlock();
	for (const answer of await answers) {
		assert.equal(answer.status, 204);
		assert.equal(answer.header('Connection'), 'close');
	}
	assert.equal(await authd.exit(), 0);
	assert.ok(!existsSync(authd.socket));
}));

await test('a stop does not wait for ever', () => withAuthd({}, async (authd) => {
	await authd.up();
	const unlock = await postgres.lock();
	const answer = authd.auth();
	await poll('it waits', 20000, async () => postgres.waiting() > 0);
	const start = Date.now();
	authd.child.kill('SIGTERM');
	assertUnavailable(await answer);
	assert.equal(await authd.exit(), 0);
	assert.ok(Date.now() - start < 15000);
	await unlock();
}));

await test('slow, half-open and vanishing clients hold up nobody, and are hung up on', () => withAuthd({ idle: 1 }, async (authd) => {
	await authd.up();
	const open = () => new Promise((resolve) => { const socket = net.connect(authd.socket, () => resolve(socket)); socket.on('error', () => {}); });
	const whole = requestBytes('GET', '/auth', { Authorization: secret });
	const pieces = [Buffer.from('G'), Buffer.from('GET /auth HTTP/1.1\r\nAuth'), whole.subarray(0, -2), requestBytes('POST', '/edge/validate', { 'Content-Type': 'application/json', 'Content-Length': '1000' }, '{"tok'), Buffer.alloc(0)];
	for (let i = 0; i < 100; i++) {
		const socket = await open();
		socket.write(pieces[i % pieces.length]);
		socket.resume();
	}
	for (let i = 0; i < 50; i++) {		// it asks, and is gone before the answer
		const socket = await open();
		socket.write(whole, () => socket.destroy());
	}
	const half = await Promise.all(Array.from({ length: 20 }, async () => {
		const socket = await open();
		let got = '';
		socket.on('data', (data) => { got += data; });
		socket.end(whole);
		await new Promise((resolve) => socket.on('close', resolve));
		return got;
	}));
	assert.ok(half.every((got) => got === '' || got.startsWith('HTTP/1.1 204')));
	only(await Promise.all(Array.from({ length: 100 }, () => authd.auth())), 204);
	await poll('all are gone', 20000, async () => (await authd.metric('connections')) <= 1);
}));

await test('what is no HTTP harms nobody', () => withAuthd({}, async (authd) => {
	await authd.up();
	for (const bytes of ['\0\0\0\0', 'GET\r\n\r\n', 'GET /auth HTTP/9.9\r\n\r\n', 'GET /auth HTTP/1.1\r\nAuthorization\r\n\r\n', `GET /auth HTTP/1.1\r\n${'X: y\r\n'.repeat(20000)}\r\n`, `GET /${'x'.repeat(100000)} HTTP/1.1\r\n\r\n`, 'POST /edge/validate HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
		'POST /edge/validate HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 'POST /edge/validate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'])
		await new Promise((resolve) => {
			const socket = net.connect(authd.socket, () => socket.end(bytes));
			socket.on('error', resolve);
			socket.on('close', resolve);
			socket.resume();
			setTimeout(() => socket.destroy(), 2000).unref();
		});
	await authd.up();
}));

await test('10,000 connections at once', () => withAuthd({ clients: 10000 }, async (authd) => {
	await authd.up();
	const limit = Number(readFileSync('/proc/self/limits', 'utf8').match(/^Max open files\s+(\d+)/m)[1]);
	const count = Math.min(9990, limit - 200);
	const sockets = [];
	while (sockets.length < count)
		sockets.push(...await Promise.all(Array.from({ length: Math.min(500, count - sockets.length) }, () => new Promise((resolve, reject) => {
			const socket = net.connect(authd.socket, () => resolve(socket));
			socket.on('error', reject);
		}))));
	await poll('all are open', 20000, async () => (await authd.metric('connections')) === count + 1);
	// each asks once, as they are
	const whole = requestBytes('GET', '/auth', { Authorization: secret });
	let good = 0;
	await Promise.all(sockets.map((socket) => new Promise((resolve) => {
		socket.once('data', (data) => { good += data.toString().startsWith('HTTP/1.1 204'); resolve(); });
		socket.write(whole);
	})));
	assert.equal(good, count);
	console.log(`figure: ${count} connections, each answered: ${Math.round(authd.memory() / 1024)} MiB`);
	for (const socket of sockets) socket.destroy();
	await poll('all are gone', 20000, async () => (await authd.metric('connections')) === 1);
}));

await test('nothing of what it wrote is left', () => assert.deepEqual(readdirSync(PG_RUN).filter((name) => /^authd/.test(name)), []));

finish();
