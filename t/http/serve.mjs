#!/usr/bin/env node
// bin/serve: its arguments, its env file, what it starts, keeps and stops.

import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

import { TOKENS, assert, assertStatus, env, finish, poll, readEnv, root, run, send, serveDir, skip, test } from './lib.mjs';

const program = path.join(root, 'bin/serve');
const envFile = path.join(serveDir, 'env');
const running = new Set();
mkdirSync(serveDir, { recursive: true });

// ---- Starting and stopping ------------------------------------------------------------------------------------------

class Serve {
	constructor(args = [], { port = 0, dir = serveDir } = {}) {
		this.dir = dir;
		this.text = '';
		this.child = spawn(program, args, { env: { ...process.env, PORT: String(port), SERVE_DIR: dir }, stdio: ['ignore', 'pipe', 'pipe'] });
		running.add(this);
		for (const stream of [this.child.stdout, this.child.stderr]) stream.setEncoding('utf8').on('data', (text) => (this.text += text));
		this.ended = new Promise((resolve) => this.child.on('exit', (code, signal) => {
			running.delete(this);
			this.code = signal ?? code;
			resolve(this.code);
		}));
		this.finished = new Promise((resolve) => this.child.on('close', resolve));
	}
	get pid() {
		return this.child.pid;
	}
	async ready(ms = 120000) {
		await poll('bin/serve is ready', ms, () => {
			if (this.code !== undefined) throw Object.assign(new Error(`bin/serve ended with ${this.code}:\n${this.text}`), { final: true });
			return /Ready\./.test(this.text) && existsSync(path.join(this.dir, 'env'));
		});
		for (const key of Object.keys(env)) delete env[key];
		Object.assign(env, readEnv(this.dir));
		return this;
	}
	async stop(signal = 'SIGTERM') {
		this.child.kill(signal);
		return this.ended;
	}
}
process.on('exit', () => [...running].forEach(({ child }) => child.kill('SIGTERM')));

// All processes below one, as "pid start-time": a number that comes back for another process has another time.
function descendants(pid) {
	const children = (of) => {
		try {
			return readdirSync(`/proc/${of}/task`).flatMap((task) => readFileSync(`/proc/${of}/task/${task}/children`, 'utf8').split(' ').filter(Boolean));
		} catch {
			return [];
		}
	};
	return children(pid).flatMap((child) => [identity(child), ...descendants(child)]).filter(Boolean);
}
function identity(pid) {
	try {
		const text = readFileSync(`/proc/${pid}/stat`, 'utf8'), fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
		return fields[0] === 'Z' ? null : `${pid} ${fields[19]}`;
	} catch {
		return null;
	}
}
const isAlive = (one) => identity(one.split(' ')[0]) === one;
const names = (list) => list.map((one) => {
	try {
		// the program may have its version behind its name
		return readFileSync(`/proc/${one.split(' ')[0]}/comm`, 'utf8').trim().replace(/-.*/, '');
	} catch {
		return '';
	}
});

const takesConnections = (port) => new Promise((resolve) => {
	const socket = net.connect({ host: '127.0.0.1', port });
	socket.on('connect', () => resolve(true) || socket.destroy());
	socket.on('error', () => resolve(false));
});
const portOf = () => Number(new URL(env.BASE_URL).port);
const createToken = (key = env.ADMIN_TOKEN, type = 'client') => send('POST', TOKENS,
	{ Authorization: key, 'Content-Type': 'application/json' }, JSON.stringify({ type, tokenName: `${run} serve` }));
// psql anew each time: the server changes
const query = (statement) => execFileSync('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-c', statement], {
	env: { ...process.env, PGHOST: env.PGHOST, PGPORT: env.PGPORT, PGDATABASE: env.PGDATABASE, PGUSER: env.PGUSER }, encoding: 'utf8' }).trim();
const works = (secret) => query(`SELECT unleash_tokens.validate_api_token('${secret}') IS NOT NULL`) === 't';

// Everything of it is gone: processes, port, socket directory, env file.
async function assertGone(list, runDir, port, dir = serveDir) {
	await poll('every process has ended', 15000, () => !list.some(isAlive));
	assert.equal(await takesConnections(port), false, 'the port is still open');
	assert.ok(!existsSync(runDir), `${runDir} is still there`);
	assert.ok(!existsSync(path.join(dir, 'env')), 'the env file is still there');
}

// ---- Arguments ------------------------------------------------------------------------------------------------------

await test('--help says how', async () => {
	const serve = new Serve(['--help']);
	assert.equal(await serve.ended, 0);
	await serve.finished;
	for (const word of ['usage: bin/serve', '--fresh', 'PORT', 'SERVE_DIR', 'ADMIN_TOKEN']) assert.ok(serve.text.includes(word), word);
});
for (const [name, args, port, says] of [
	['an unknown argument', ['--nonsense'], 0, /unknown argument: --nonsense/], ['a port that is no number', [], 'abc', /PORT must be a number/],
	['a port that is too high', [], 65536, /PORT must be a number/],
	...['localhost', '1.2.3', '1.2.3.400', '0.0.0.0; return 200', '::x', ''].map((address) =>
		[`--listen "${address}"`, ['--listen', address], 0, /--listen takes an IP address/]), ['--listen alone', ['--listen'], 0, /--listen takes an IP address/],
])
	await test(`${name} is an error`, async () => {
		const serve = new Serve(args, { port });
		assert.notEqual(await serve.ended, 0);
		await serve.finished;
		assert.match(serve.text, says);
	});

await test('a taken port is an error, and an old env file does not outlive it', async () => {
	const server = net.createServer().listen(0, '127.0.0.1');
	await new Promise((resolve) => server.on('listening', resolve));
	writeFileSync(envFile, "BASE_URL='stale'\n");
	const serve = new Serve([], { port: server.address().port });
	assert.notEqual(await serve.ended, 0);
	await serve.finished;
	server.close();
	assert.match(serve.text, /port \d+ .*taken/);
	assert.ok(!existsSync(envFile));
});

// ---- A fresh start --------------------------------------------------------------------------------------------------

let serve, started, first, kept;
await test('a fresh start answers, and shows a call that works', async () => {
	writeFileSync(envFile, "BASE_URL='stale'\n");
	serve = new Serve(['--fresh']);
	await poll('the stale env file is removed', 10000, () => !existsSync(envFile));
	await serve.ready();
	started = descendants(serve.pid);
	assert.deepEqual([...new Set(names(started))].filter((name) => ['postgres', 'postgrest', 'nginx'].includes(name)).sort(), ['nginx', 'postgres', 'postgrest']);
	const line = serve.text.match(/^\s*(curl .*)$/m)[1];
	const out = execFileSync('bash', ['-c', line], { env: { ...process.env, http_proxy: 'http://127.0.0.1:9' }, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
	assert.match(out, /^HTTP\/1.1 201 Created/);
	assert.match(out, /"tokenName":"token-64522"/);
	assert.equal(query('SELECT count(*) FROM unleash_tokens.api_token'), '2', 'the admin token and the one just made');
});
if (!serve || serve.code !== undefined) {
	finish();
	process.exit(1);
}

await test('the env file: mode 0600, all names, shell syntax, works', async () => {
	assert.equal((statSync(envFile).mode & 0o7777).toString(8), '600');
	// authd runs where libmicrohttpd is
	const wanted = [...(env.AUTHD_SOCKET ? ['AUTHD_SOCKET'] : []), 'ADMIN_TOKEN', 'BASE_URL', 'PGDATABASE', 'PGHOST', 'PGPORT', 'PGRST_SOCKET', 'PGUSER', 'SQL_JWT'].sort();
	assert.deepEqual(Object.keys(env).sort(), wanted);
	const child = execFileSync('sh', ['-c', '. "$1"; env', 'sh', envFile], { encoding: 'utf8' }).split('\n');
	for (const name of wanted) assert.ok(child.includes(`${name}=${env[name]}`), `${name} is not exported`);
	const shell = execFileSync('sh', ['-c', `. "$1"; for name in ${wanted.join(' ')}; do eval "echo \\$$name"; done`, 'sh', envFile], { encoding: 'utf8' });
	assert.deepEqual(shell.trim().split('\n'), wanted.map((name) => env[name]));
	assert.equal(query(`SELECT current_setting('is_superuser')`), 'on');
	assert.equal(query('SHOW shared_preload_libraries'), 'unleash_tokens');
	assert.ok(works(env.ADMIN_TOKEN));
	assert.ok(statSync(env.PGRST_SOCKET).isSocket());
	first = env.ADMIN_TOKEN;
	kept = (await createToken()).json.secret;
});

await test('it listens on 127.0.0.1 alone, PostgreSQL and PostgREST on no port', () => {
	const own = new Set(started.flatMap((one) => {
		const dir = `/proc/${one.split(' ')[0]}/fd`;
		try {
			return readdirSync(dir).map((fd) => execFileSync('readlink', [`${dir}/${fd}`], { encoding: 'utf8' }).trim());
		} catch {
			return [];
		}
	}).map((link) => link.match(/^socket:\[(\d+)\]$/)?.[1]));
	const listening = ['tcp', 'tcp6'].flatMap((kind) => readFileSync(`/proc/net/${kind}`, 'utf8').split('\n').slice(1).filter(Boolean)
		.map((line) => line.trim().split(/\s+/)).filter((fields) => fields[3] === '0A' && own.has(fields[9])).map((fields) => fields[1]));
	assert.deepEqual(listening, [`0100007F:${portOf().toString(16).toUpperCase().padStart(4, '0')}`]);
});

await test('secrets are on no command line', () => {
	for (const one of [identity(serve.pid), ...descendants(serve.pid)]) {
		const line = readFileSync(`/proc/${one.split(' ')[0]}/cmdline`, 'latin1');
		for (const secret of [env.ADMIN_TOKEN, env.SQL_JWT]) assert.ok(!line.includes(secret), line);
	}
});

await test('a second instance for the same directory is refused and does no harm', async () => {
	for (const args of [[], ['--fresh']]) {
		const second = new Serve(args);
		assert.notEqual(await second.ended, 0);
		await second.finished;
		assert.match(second.text, /another bin\/serve/);
	}
	assert.ok(existsSync(envFile));
	assertStatus(await createToken(), 201);
});

// ---- Stopping -------------------------------------------------------------------------------------------------------

// Programs of the same names that it did not start.
const bystanders = mkdtempSync(path.join(os.tmpdir(), 'unleash_tokens-bystanders.'));
const others = ['postgres', 'postgrest', 'nginx'].map((name) => {
	copyFileSync('/bin/sleep', path.join(bystanders, name));
	chmodSync(path.join(bystanders, name), 0o755);
	const child = spawn(path.join(bystanders, name), ['600'], { stdio: 'ignore' });
	process.on('exit', () => child.kill('SIGKILL'));
	return child;
});

for (const signal of ['SIGTERM', 'SIGINT'])
	await test(`${signal} stops all it started and nothing else; the data and the admin token are kept`, async () => {
		const list = descendants(serve.pid), { PGHOST } = env, port = portOf();
		assert.ok(list.length >= 6, names(list).join(' '));
		assert.equal(await serve.stop(signal), 0, serve.text);
		await assertGone(list, PGHOST, port);
		for (const other of others) assert.ok(other.exitCode === null && other.signalCode === null, 'a bystander was stopped');
		serve = await new Serve([]).ready();
		assert.equal(env.ADMIN_TOKEN, first);
		assert.ok(works(kept));
		assertStatus(await createToken(), 201);
	});

await test('an admin token that is not valid any more is replaced, and that is said', async () => {
	query(`DELETE FROM unleash_tokens.api_token WHERE type = 'admin'`);
	assert.equal(await serve.stop(), 0);
	serve = await new Serve([]).ready();
	assert.notEqual(env.ADMIN_TOKEN, first);
	assert.match(serve.text, /not valid any more: making a new one/);
	assertStatus(await createToken(), 201);
	assert.ok(works(kept));
});

for (const name of ['postgrest', 'nginx', 'postgres'])
	await test(`when ${name} dies, it says so and stops the rest`, async () => {
		const list = descendants(serve.pid), { PGHOST } = env, port = portOf();
		const victim = list.find((one, i) => names(list)[i] === name).split(' ')[0];
		process.kill(Number(victim), 'SIGKILL');
		assert.notEqual(await serve.ended, 0);
		await serve.finished;
		assert.match(serve.text, new RegExp(`${name === 'postgres' ? 'PostgreSQL' : name} has stopped`, 'i'));
		await assertGone(list, PGHOST, port);
		serve = await new Serve([]).ready();
		assert.ok(works(kept), 'kept data survived it');
	});

await test('when it is killed itself, nothing is left running, and the next start works', async () => {
	const list = descendants(serve.pid), port = portOf(), { PGHOST } = env;
	await serve.stop('SIGKILL');
	await poll('every process has ended', 20000, () => !list.some(isAlive));
	assert.equal(await takesConnections(port), false);
	rmSync(PGHOST, { recursive: true, force: true });	// that nobody was left to remove
	serve = await new Serve([]).ready();
	assert.ok(works(kept));
});

await test('--fresh starts anew: other data, another admin token', async () => {
	const old = env.ADMIN_TOKEN;
	assert.equal(await serve.stop(), 0);
	serve = await new Serve(['--fresh']).ready();
	assert.notEqual(env.ADMIN_TOKEN, old);
	for (const secret of [old, kept]) assert.ok(!works(secret));
	assertStatus(await createToken(old), 401);
	assertStatus(await createToken(), 201);
});

await test('told to stop while it starts, it leaves nothing', async () => {
	assert.equal(await serve.stop(), 0);
	serve = new Serve([]);
	await poll('PostgreSQL is being started', 60000, () => /starting PostgreSQL/.test(serve.text));
	const list = descendants(serve.pid);
	assert.notEqual(await serve.stop(), 0);
	await poll('every process has ended', 15000, () => !list.some(isAlive));
	assert.ok(!existsSync(envFile));
});

// ---- Root's own checkout --------------------------------------------------------------------------------------------

await test('--listen: it answers there and on 127.0.0.1, and says what that means', async () => {
	const ask = (host) => fetch(`http://${host}:${portOf()}/health`).then(({ status }) => status, () => 'nobody');
	for (const [address, host, elsewhere] of [['127.0.0.2', '127.0.0.2', '127.0.0.3'], ['0.0.0.0', '127.0.0.3', null], ['::1', '[::1]', '127.0.0.2']]) {
		const open = await new Serve(['--listen', address]).ready();
		assert.deepEqual([await ask('127.0.0.1'), await ask(host)], [200, 200], address);
		if (elsewhere) assert.equal(await ask(elsewhere), 'nobody', address);
		assert.match(open.text, /^serve: .*(without TLS|in clear)/m);
		assert.equal(await open.stop(), 0);
	}
	const closed = await new Serve(['--listen', '192.0.2.1']).ended;
	assert.notEqual(closed, 0, 'an address of another machine');
});

if (process.getuid() !== 0) skip('a directory that the server user cannot enter', 'only root has one');
else
	await test('a directory that the server user cannot enter: the data is elsewhere, "where" says so, --fresh removes it', async () => {
		const closed = mkdtempSync(path.join(os.tmpdir(), 'unleash_tokens-closed.')), dir = path.join(closed, 'serve');
		mkdirSync(dir);
		let where;
		try {
			let other = await new Serve([], { dir }).ready();
			where = readFileSync(path.join(dir, 'where'), 'utf8').trim();
			assert.ok(!where.startsWith(closed), where);
			assert.match(other.text, new RegExp(`cannot enter .*${where}`));
			assert.equal((statSync(where).mode & 0o7777).toString(8), '700');
			const secret = (await createToken()).json.secret;
			assert.equal(await other.stop(), 0);
			other = await new Serve([], { dir }).ready();
			assert.ok(works(secret));
			assert.equal(await other.stop(), 0);
			other = await new Serve(['--fresh'], { dir }).ready();
			assert.ok(!works(secret));
			assert.equal(await other.stop(), 0);
		} finally {
			if (where && path.basename(where).startsWith('unleash_tokens-serve-')) rmSync(where, { recursive: true, force: true });
			rmSync(closed, { recursive: true, force: true });
		}
	});

for (const other of others) other.kill('SIGKILL');
rmSync(bystanders, { recursive: true, force: true });
finish();
