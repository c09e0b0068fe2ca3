// What the tests of authd share: a PostgreSQL that can be stopped, killed, paused and locked, and an authd with its settings.  All
// that is started ends with the test, however that ends.  PG_RUN: the directory of the cluster and its socket; PG_BIN, AUTHD: where
// the programs are; SERVER_UID, SERVER_GID: as whom they run.

import { spawn, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { assert, exchange, poll, requestBytes } from '../http/lib.mjs';

export const { PG_RUN, PG_BIN, AUTHD } = process.env;
export const as = process.getuid() === 0 ? { uid: Number(process.env.SERVER_UID), gid: Number(process.env.SERVER_GID) } : {};
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A process that the kernel ends when this one does, also by SIGKILL.
export const start = (command, args, options = {}, signal = 'KILL') => spawn('setpriv', ['--pdeathsig', signal, '--', command, ...args], options);

// Status, output and errors of a program that ends by itself; others go on meanwhile.
export async function run(command, args, options = {}) {
	const child = start(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
	let stdout = '', stderr = '';
	child.stdout.on('data', (data) => { stdout += data; });
	child.stderr.on('data', (data) => { stderr += data; });
	const status = await new Promise((resolve) => child.on('close', (code, signal) => resolve(signal ?? code)));
	return { status, stdout, stderr };
}

function good({ status, stdout, stderr }) {
	if (status !== 0) throw new Error(stderr || `status ${status}`);
	return stdout.trim();
}

// ---- PostgreSQL -----------------------------------------------------------------------------------------------------

const locks = [];

export class Postgres {
	// where its socket and, below "cluster", its data is
	constructor(dir = PG_RUN) {
		this.dir = dir;
		this.data = `${dir}/cluster`;
	}
	// query: one, or several of a session
	arguments(database, query) {
		return ['-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1', '-h', this.dir, '-p', '5432', '-U', 'postgres', '-d', database, ...[query ?? []].flat().flatMap((one) => ['-c', one])];
	}
	psql(query, database = 'postgres') {
		return good(spawnSync(`${PG_BIN}/psql`, this.arguments(database, query), { encoding: 'utf8', timeout: 60000 }));
	}
	// the same, while others go on
	async ask(query, database = 'postgres') {
		return good(await run(`${PG_BIN}/psql`, this.arguments(database, query)));
	}
	get postmaster() {
		return Number(readFileSync(`${this.data}/postmaster.pid`, 'utf8').split('\n')[0]);
	}
	get running() {
		return existsSync(`${this.data}/postmaster.pid`) && existsSync(`/proc/${this.postmaster}`);
	}
	processes() {
		const parent = (pid) => { try { return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').match(/.*\) \S (\d+)/s)[1]); } catch { return 0; } };
		const { postmaster } = this;
		return [postmaster, ...readdirSync('/proc').filter((name) => /^\d+$/.test(name) && parent(name) === postmaster).map(Number)];
	}
	// Again where it ends at once: processes of the one before may not be gone yet.
	start(...options) {
		let ended = true;
		const begin = () => start(`${PG_BIN}/postgres`, ['-D', this.data, '-k', this.dir, ...['listen_addresses=', 'port=5432', 'fsync=off', 'shared_preload_libraries=unleash_tokens', ...options].flatMap((one) => ['-c', one])],
			{ stdio: 'ignore', detached: true, ...as }, 'INT').on('exit', () => { ended = true; }).unref();
		return poll('PostgreSQL is there', 30000, async () => {
			if (ended) begin();
			ended = false;
			return this.psql('SELECT 1') === '1';
		});
	}
	async stop(signal) {
		const pid = this.postmaster;
		process.kill(pid, signal);
		await poll('PostgreSQL is gone', 20000, async () => !existsSync(`/proc/${pid}`));
	}
	signal(signal, pids) {
		for (const pid of pids) try { process.kill(pid, signal); } catch { /* it has ended */ }
	}
	// All its processes at once, until it is let go on.
	freeze() {
		process.kill(this.postmaster, 'SIGSTOP');
		const pids = this.processes();
		this.signal('SIGSTOP', pids);
		const release = () => this.signal('SIGCONT', pids);
		process.once('exit', release);		// what is stopped hears of nothing
		return release;
	}
	// As when its machine is lost; what it has of System V's memory would stay.
	async kill() {
		this.freeze();
		const pids = this.processes();
		const [, memory] = readFileSync(`${this.data}/postmaster.pid`, 'utf8').split('\n')[6].trim().split(/\s+/);
		this.signal('SIGKILL', pids);
		await poll('PostgreSQL is gone', 20000, async () => pids.every((pid) => !existsSync(`/proc/${pid}`)));
		spawnSync('ipcrm', ['-m', memory]);
	}
	// A streaming standby of another one, in a directory that is made anew.
	async follow(primary) {
		rmSync(this.dir === PG_RUN ? this.data : this.dir, { recursive: true, force: true });
		if (this.dir !== PG_RUN) makeDirectory(this.dir);
		good(await run(`${PG_BIN}/pg_basebackup`, ['-h', primary.dir, '-p', '5432', '-U', 'postgres', '-D', this.data, '-R', '-c', 'fast', '--no-sync'], as));
		await this.start();
	}
	// A session that holds a lock which every look-up waits for, until it is let go.
	async lock(database = 'postgres') {
		const child = start(`${PG_BIN}/psql`, this.arguments(database), { stdio: ['pipe', 'pipe', 'inherit'] });
		const locked = new Promise((resolve) => child.stdout.on('data', (data) => data.includes('locked') && resolve()));
		child.stdin.write('BEGIN; LOCK TABLE unleash_tokens.api_token; SELECT \'locked\';\n');
		await locked;
		locks.push(child);
		return () => new Promise((resolve) => { child.on('close', resolve); child.stdin.end('ROLLBACK;\n'); });
	}
	waiting() {
		return Number(this.psql(`SELECT count(*) FROM pg_stat_activity WHERE usename = 'unleash_tokens_auth' AND wait_event_type = 'Lock'`));
	}
	make(more = {}, database = 'postgres') {
		return this.psql(`SELECT unleash_tokens.create_api_token('${JSON.stringify({ type: 'client', tokenName: 'c', environment: 'development', projects: ['default'], ...more })}') ->> 'secret'`, database);
	}
}

// One of theirs.
export function makeDirectory(dir) {
	mkdirSync(dir);
	if (as.uid !== undefined) chownSync(dir, as.uid, as.gid);
}

// ---- authd ----------------------------------------------------------------------------------------------------------

export const connection = (more = '', dir = PG_RUN) => `host=${dir} port=5432 dbname=postgres user=unleash_tokens_auth ${more}`.trim();
let number = 0;

export class Authd {
	static key;		// what it is asked with where no other is said, and must not say
	constructor(more = {}, environment = {}) {
		this.dir = path.join(PG_RUN, `authd${++number}`);
		makeDirectory(this.dir);
		this.socket = `${this.dir}/s`;
		this.settings = { listen: `unix:${this.socket}`, database: connection(`options='-c lock_timeout=60s -c statement_timeout=60s'`),
			address_header: 'X-Original-Address', deadline: 60000, ...more };
		this.write();
		this.log = '';
		this.child = start(AUTHD, ['--config', `${this.dir}/conf`], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...environment }, ...as });
		this.child.stderr.on('data', (data) => { this.log += data; });
		this.ended = new Promise((resolve) => this.child.on('close', (code, signal) => resolve(signal ?? code)));
	}
	write(text = Object.entries(this.settings).map(([name, value]) => `${name} = ${value}\n`).join('')) {
		writeFileSync(`${this.dir}/conf`, text);
	}
	async send(method, target, headers, body, timeout = 20000) {
		return (await exchange(requestBytes(method, target, headers, body), [method], this.socket, timeout))[0];
	}
	auth(key = Authd.key) {
		return this.send('GET', '/auth', { Authorization: key });
	}
	metric(name) {
		return this.send('GET', '/metrics', {}).then((answer) => Number(answer.text.match(new RegExp(`^unleash_tokens_authd_${name} (\\S+)$`, 'm'))?.[1]));
	}
	up(key = Authd.key) {
		return poll('authd answers', 20000, async () => (await this.auth(key)).status === 204);
	}
	async stop() {
		this.child.kill('SIGTERM');
		assert.equal(await this.exit(), 0, this.log);
		assert.ok(!this.log.includes(Authd.key), 'a key is in the log');
		rmSync(this.dir, { recursive: true });
	}
	// of one that ends by itself
	exit() {
		return Promise.race([this.ended, new Promise((resolve) => setTimeout(resolve, 20000, 'it has not ended').unref())]);
	}
	memory() {
		return Number(readFileSync(`/proc/${this.child.pid}/status`, 'utf8').match(/^VmRSS:\s*(\d+) kB/m)[1]);
	}
}

// An authd for a test, stopped behind it: in order, or as what it said shows.
export async function withAuthd(more, body, environment) {
	const authd = new Authd(more, environment);
	try {
		await body(authd);
	} catch (error) {
		for (const child of locks.splice(0)) child.kill();
		authd.child.kill('SIGKILL');
		error.message += `\n${authd.log.slice(-2000)}`;
		throw error;
	}
	await authd.stop();
}

// Some kinds of answers may come while PostgreSQL goes and comes, and no others; how many of each.
export function only(answers, ...statuses) {
	const seen = new Map();
	for (const { status } of answers) seen.set(status, (seen.get(status) ?? 0) + 1);
	assert.ok([...seen.keys()].every((status) => statuses.includes(status)), JSON.stringify([...seen]));
	return seen;
}

export function assertUnavailable(answer) {
	assert.equal(answer.status, 503, answer.text);
	assert.equal(answer.header('Retry-After'), '1');
	assert.equal(answer.json.name, 'UnavailableError');
}
