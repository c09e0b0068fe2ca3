// What authd is told, by its settings and by signals, and what it keeps to itself: keys.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { assert, exchange, finish, freePort, poll, requestBytes, skip, takeAnswer, test } from '../http/lib.mjs';
import { assertUnavailable, Authd, AUTHD, connection, PG_RUN, Postgres, start, withAuthd } from './lib.mjs';

const postgres = new Postgres();
const psql = (query, database) => postgres.psql(query, database);
const secret = postgres.make();
Authd.key = secret;

// ---- Settings and signals -------------------------------------------------------------------------------------------

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
		await poll('stopping', 20000, async () => /^STOPPING=1$/m.test(heard));
	} finally {
		listener.kill('SIGKILL');
	}
})());

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

await test('its socket is for those whom socket_mode names', async () => {
	for (const [more, mode] of [[{}, 0o660], [{ socket_mode: '0600' }, 0o600]])
		await withAuthd(more, async (authd) => {
			await authd.up();
			assert.equal(statSync(authd.socket).mode & 0o777, mode);
		});
});

await test('a socket where another listens is left alone, one that was left behind is taken', () => withAuthd({}, async (authd) => {
	await authd.up();
	const [other, left] = [new Authd({ listen: authd.settings.listen }), new Authd()];
	try {
		assert.equal(await other.exit(), 1);
		assert.match(other.log, /cannot listen at unix:/);
		await authd.up();
		await left.up();
		left.child.kill('SIGKILL');
		await left.ended;
		assert.ok(existsSync(left.socket));
		await withAuthd({ listen: left.settings.listen }, (next) => {
			next.socket = left.socket;
			return next.up();
		});
	} finally {
		for (const { child, dir } of [other, left]) {
			child.kill('SIGKILL');
			rmSync(dir, { recursive: true });
		}
	}
}));

await test('an address is what the named header says, or without one that of who asks, and nothing else', async () => {
	const [here, there] = [postgres.make({ allowedIps: ['127.0.0.1'] }), postgres.make({ allowedIps: ['192.0.2.1'] })];
	const port = await freePort();
	const told = Object.fromEntries(['X-Original-Address', 'X-Forwarded-For', 'X-Real-IP', 'Forwarded', 'X-Named'].map((name) => [name, '192.0.2.1']));
	for (const [name, statuses] of [['', [204, 401]], ['X-Named', [401, 204]]])
		await withAuthd({ listen: `127.0.0.1:${port}`, address_header: name }, async (authd) => {
			authd.socket = { host: '127.0.0.1', port };
			await authd.up();
			for (const [i, key] of [here, there].entries()) assert.equal((await authd.send('GET', '/auth', { Authorization: key, ...told })).status, statuses[i]);
			delete told['X-Named'];
			if (name !== '') for (const key of [here, there]) assert.equal((await authd.send('GET', '/auth', { Authorization: key, ...told })).status, 401);
			told['X-Named'] = '192.0.2.1';
		});
});

// ---- Keys and memory ------------------------------------------------------------------------------------------------

await test('what PostgreSQL says of a call is not in the log, which may quote a key', async () => {
	psql('CREATE DATABASE quotes TEMPLATE latin', 'template1');
	psql(`CREATE OR REPLACE FUNCTION unleash_tokens.authorize_many(bytea[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[], OUT status int, OUT headers text, OUT body bytea)
		RETURNS SETOF record LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no %', convert_from($3[1], 'UTF8') USING DETAIL = convert_from($3[1], 'UTF8'); END $$`, 'quotes');
	await withAuthd({ database: `host=${PG_RUN} port=5432 dbname=quotes user=unleash_tokens_auth` }, async (authd) => {
		await poll('it is there', 20000, async () => (await authd.metric('up')) === 1);
		assertUnavailable(await authd.auth());
		await poll('it says so', 20000, async () => /SQLSTATE P0001/.test(authd.log));
		assert.ok(!/no |DETAIL/.test(authd.log), authd.log);
	});
});

await test('no core is written of it', () => withAuthd({}, async (authd) => {
	await authd.up();
	// what belongs to root is that of a process which may not be dumped
	assert.equal(statSync(`/proc/${authd.child.pid}/environ`).uid, 0);
}));

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

await inMemory('while an answer is waited for, a key is in its request and in the buffer of libpq', () => withAuthd({ connections: 1 }, async (authd) => {
	await authd.up();
	const [one, other] = [postgres.make(), postgres.make()];
	const unlock = await postgres.lock();
	const answers = [authd.auth(`Bearer ${one}`)];
	await poll('it waits', 20000, async () => postgres.waiting() > 0);
	answers.push(authd.send('POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [other] })));
	await poll('both wait', 20000, async () => (await authd.metric('waiting')) === 2);
	assert.deepEqual([one, other].map((key) => occurrences(authd.child.pid, key.slice(-43))), [2, 1]);
	await unlock();
	for (const answer of await Promise.all(answers)) assert.ok(answer.status < 300);
}));

await inMemory('behind an answer a key is in the buffer of libpq and nowhere else', () => withAuthd({ connections: 1 }, async (authd) => {
	await authd.up();
	const rare = postgres.make();
	// the connection of the client stays open
	const socket = net.connect(authd.socket);
	for (const [method, target, headers, body] of [['GET', '/auth', { Authorization: `Bearer ${rare}` }], ['POST', '/edge/validate', { 'Content-Type': 'application/json' }, JSON.stringify({ tokens: [rare] })], ['GET', '/auth', { Authorization: rare }]]) {
		let got = Buffer.alloc(0);
		const answered = new Promise((resolve) => socket.on('data', (data) => {
			got = Buffer.concat([got, data]);
			const taken = takeAnswer(got, method, false);
			if (taken) resolve(taken[0]);
		}));
		socket.write(requestBytes(method, target, headers, body));
		assert.ok((await answered).status < 300);
		socket.removeAllListeners('data');
		// of the call, and of an answer that has it
		assert.ok(occurrences(authd.child.pid, rare.slice(-43)) <= (target === '/auth' ? 1 : 2), target);
	}
	socket.destroy();
}));

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

finish();
