// authd with a PostgreSQL that is not there, is lost, is paused or is slow, and with clients that are.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { assert, exchange, finish, poll, requestBytes, skip, test } from '../http/lib.mjs';
import { assertUnavailable, Authd, AUTHD, connection, only, pause, PG_RUN, Postgres, start, withAuthd } from './lib.mjs';

const postgres = new Postgres();
const psql = (query) => postgres.psql(query);
const secret = postgres.make();
Authd.key = secret;

// ---- What it is told ------------------------------------------------------------------------------------------------

await test('--help, and arguments that are none', () => {
	const help = spawnSync(AUTHD, ['--help'], { encoding: 'utf8' });
	assert.equal(help.status, 0);
	assert.match(help.stdout, /^usage: unleash-tokens-authd/);
	for (const args of [['--nothing'], ['x'], ['--config']]) assert.equal(spawnSync(AUTHD, args).status, 2, args.join(' '));
});

await test('--check says which line is wrong, and what is allowed', () => {
	const check = (text) => {
		writeFileSync(`${PG_RUN}/checked.conf`, text);
		const got = spawnSync(AUTHD, ['--check', '--config', `${PG_RUN}/checked.conf`], { encoding: 'utf8' });
		return `${got.status} ${got.stderr.trim()}`;
	};
	assert.equal(check('# nothing\n\n  connections = 3 \nrepeat_refusals = on\nsocket_mode = 0600\n'), '0 ');
	for (const [text, says] of [['connections = 0', /line 1 of .*: connections must be a number from 1 to 64, not "0"/], ['\nbatch = x', /line 2 of .*: batch must be a number from 1 to 1000, not "x"/], ['batch = 5x', /not "5x"/], ['nothing = 1', /there is no setting "nothing"/],
		['listen', /there is no "="/], ['repeat_refusals = yes', /must be on or off, not "yes"/], ['socket_mode = 0800', /octal/], ['database = host', /database: /], ['deadline = 99999999999999999999', /deadline must be/], ['listen = nowhere', /listen must be unix: and a path of at most 107 bytes, or a numeric address, a colon and a port, not "nowhere"/], ['listen = localhost:80', /not "localhost:80"/], ['listen = unix:x', /not "unix:x"/], ['listen = 127.0.0.1', /listen must/]])
		assert.match(check(`${text}\n`), new RegExp(`^1 .*${says.source}`));
	assert.match(`${spawnSync(AUTHD, ['--check', '--config', '/nonexistent'], { encoding: 'utf8' }).stderr}`, /cannot read \/nonexistent/);
});

await test('systemd hears that it is ready, reads its settings anew, and stops', () => (async () => {
	const socket = `${PG_RUN}/notify`;
	const listener = start('perl', ['-MIO::Socket::UNIX', '-MSocket', '-e', '$| = 1; my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => shift) or die; print "listening\n"; while (defined $s->recv(my $d, 4096)) { print "$d\n" }', socket], { stdio: ['ignore', 'pipe', 'inherit'] });
	let heard = '';
	listener.stdout.on('data', (data) => { heard += data; });
	try {
		await poll('perl listens', 20000, async () => heard.includes('listening'));
		spawnSync('chmod', ['777', socket]);
		await withAuthd({}, async (authd) => {
			await poll('ready', 20000, async () => /^READY=1$/m.test(heard));
			authd.child.kill('SIGHUP');
			await poll('reloading, and ready again', 20000, async () => /RELOADING=1\nMONOTONIC_USEC=\d+\nREADY=1/.test(heard));
		}, { NOTIFY_SOCKET: socket });
	} finally {
		listener.kill('SIGKILL');
	}
})());

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
		await postgres.start();
		await authd.up();
		assert.equal(await authd.metric('up'), 1);
	});
});

// ---- Several hosts --------------------------------------------------------------------------------------------------

await test('of several hosts the first that is there is asked, also when one before it accepts and says nothing', async () => {
	const dir = `${PG_RUN}/silent`;
	mkdirSync(dir);
	const silent = net.createServer(() => {}).listen(`${dir}/.s.PGSQL.5432`);
	spawnSync('chmod', ['777', dir, `${dir}/.s.PGSQL.5432`]);
	try {
		for (const hosts of [`${PG_RUN}/nobody,${PG_RUN}`, `${PG_RUN}/nobody,${dir},${PG_RUN}`])
			await withAuthd({ database: connection('', hosts) }, (authd) => authd.up());
	} finally {
		silent.close();
	}
});

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
	await unlock();
	for (const answer of await answers) {
		assert.equal(answer.status, 204);
		assert.equal(answer.header('Connection'), 'close');
	}
	assert.equal(await authd.ended, 0);
	assert.ok(!existsSync(authd.socket));
}));

await test('a stop does not wait for ever', () => withAuthd({ database: connection() }, async (authd) => {
	await authd.up();
	const unlock = await postgres.lock();
	// lock_timeout of the role ends the call before the ten seconds of a stop are over
	const answer = authd.auth();
	await poll('it waits', 20000, async () => postgres.waiting() > 0);
	authd.child.kill('SIGTERM');
	assertUnavailable(await answer);
	assert.equal(await authd.ended, 0);
	await unlock();
}));

await test('SIGHUP reads the settings again, and keeps them when they are wrong', () => withAuthd({}, async (authd) => {
	await authd.up();
	const names = () => psql(`SELECT string_agg(DISTINCT application_name, ' ') FROM pg_stat_activity WHERE usename = 'unleash_tokens_auth'`);
	assert.equal(names(), 'unleash_tokens_authd');
	authd.settings.database += ' application_name=other';
	authd.write();
	authd.child.kill('SIGHUP');
	await poll('the new connection string counts', 20000, async () => names() === 'other');
	await authd.up();
	authd.write('database = x\nqueue = none\n');
	authd.child.kill('SIGHUP');
	await poll('it says what is wrong', 20000, async () => /line 2 of .*queue must be a number/.test(authd.log));
	await authd.up();
	assert.equal(names(), 'other');
	authd.write();
}));

await test('slow, half-open and vanishing clients hold up nobody, and are hung up on', () => withAuthd({ idle: 1 }, async (authd) => {
	await authd.up();
	const open = () => new Promise((resolve) => { const socket = net.connect(authd.socket, () => resolve(socket)); socket.on('error', () => {}); });
	const whole = requestBytes('GET', '/auth', { Authorization: secret });
	const pieces = [Buffer.from('G'), Buffer.from('GET /auth HTTP/1.1\r\nAuth'), whole.subarray(0, -2), requestBytes('POST', '/edge/validate', { 'Content-Type': 'application/json', 'Content-Length': '1000' }, '{"tok'), Buffer.alloc(0)];
	const closed = [];
	for (let i = 0; i < 100; i++) {
		const socket = await open();
		socket.write(pieces[i % pieces.length]);
		closed.push(new Promise((resolve) => { socket.on('close', resolve); socket.resume(); }));
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
	await Promise.all(closed);
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

// ---- Keys and memory ------------------------------------------------------------------------------------------------

// Where a text stands in the writable memory of a process.
function occurrences(pid, text) {
	const needle = Buffer.from(text);
	let found = 0;
	const memory = spawnSync('perl', ['-e', 'my ($pid) = @ARGV; open(my $maps, "<", "/proc/$pid/maps") or die; open(my $mem, "<:raw", "/proc/$pid/mem") or die; while (<$maps>) { /^([0-9a-f]+)-([0-9a-f]+) rw/ or next; no warnings; my ($a, $b) = (hex $1, hex $2); next if $b - $a > 64 << 20; sysseek($mem, $a, 0); my $d; print $d if sysread($mem, $d, $b - $a); }', String(pid)],
		{ maxBuffer: 1 << 30 }).stdout;
	assert.ok(memory.length > 100000, 'its memory cannot be read');
	for (let at = memory.indexOf(needle); at >= 0; at = memory.indexOf(needle, at + 1)) found++;
	return found;
}

// What of its memory says nothing of a build with sanitizers, which keep what is freed and mark it.
const inMemory = (name, body) => (process.env.AUTHD_CFLAGS ? skip(name, 'sanitizers keep what was freed') : test(name, body));

await inMemory('keys are gone from its memory when others have come', () => withAuthd({}, async (authd) => {
	await authd.up();
	const rare = postgres.make();
	for (let i = 0; i < 20; i++) {
		assert.equal((await authd.auth(rare)).status, 204);
		assert.equal((await authd.send('POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [rare] }))).json.tokens.length, 1);
	}
	// libpq's buffers keep a call and its answer until those of the next one, as far as these reach
	const padding = JSON.stringify({ tokens: [secret, secret, 'x'.repeat(400)] });
	for (let i = 0; i < 40; i++) await Promise.all(Array.from({ length: 4 }, () => authd.send('POST', '/edge/validate', { 'Content-Type': 'application/json' }, padding)));
	assert.equal(occurrences(authd.child.pid, rare.slice(-43)), 0);
}));

await inMemory('memory stays as it is', () => withAuthd({}, async (authd) => {
	await authd.up();
	const flood = (count) => Promise.all(Array.from({ length: 20 }, async (_, i) => {
		const piece = Buffer.concat(Array.from({ length: 50 }, (__, j) => requestBytes('GET', '/auth', { Authorization: (i + j) % 3 ? secret : 'x' })));
		for (let left = count / 20; left > 0; left -= 50) await exchange(piece, Array(50).fill('GET'), authd.socket);
	}));
	await flood(20000);
	const before = authd.memory(), count = Number(process.env.FLOOD ?? 50000);
	await flood(count);
	const after = authd.memory();
	console.log(`figure: ${count} requests: ${before} kB before, ${after} kB after`);
	assert.ok(after <= before + 512, `${before} kB before, ${after} kB after`);
}));

await test('nothing of what it wrote is left', () => assert.deepEqual(readdirSync(PG_RUN).filter((name) => /^authd/.test(name)), []));

finish();
