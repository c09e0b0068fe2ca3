#!/usr/bin/env node
// Servers that are killed while tokens are made over HTTP, and no connection to be had: whatever was answered with 201
// holds, everything else is a 503 of the documented form or a broken line, and it all goes on afterwards.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';

import { SECRET, TOKENS, assert, assertCreated, assertRefusal, env, finish, poll, readEnv, root, send, serveDir, test } from '../http/lib.mjs';

// ---- bin/serve ------------------------------------------------------------------------------------------------------

mkdirSync(serveDir, { recursive: true });

class Serve {
	constructor(args = []) {
		this.text = '';
		this.child = spawn(path.join(root, 'bin/serve'), args, { env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'pipe'] });
		for (const stream of [this.child.stdout, this.child.stderr]) stream.setEncoding('utf8').on('data', (text) => (this.text += text));
		this.ended = new Promise((resolve) => this.child.on('exit', (code, signal) => resolve((this.code = signal ?? code))));
	}
	async ready() {
		await poll('bin/serve is ready', 300000, () => {
			if (this.code !== undefined) throw new Error(`bin/serve ended with ${this.code}: ${this.text}`);
			return /Ready\./.test(this.text) && existsSync(path.join(serveDir, 'env'));
		});
		Object.assign(env, readEnv(serveDir));
		return this;
	}
	// Those of its processes whose program or title says so: the number of each.
	find(pattern) {
		const below = (pid) => readdirSync(`/proc/${pid}/task`).flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean))
			.flatMap((child) => [Number(child), ...below(child)]);
		const title = (pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
		return below(this.child.pid).filter((pid) => pattern.test(title(pid)));
	}
}

let serve;
process.on('exit', () => serve?.child.kill('SIGTERM'));

// ---- SQL: a psql for each question, since the server goes down ----------------------------------------------------------

function sql(statement) {
	const child = spawn('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-f', '-'], {
		env: { ...process.env, PGHOST: env.PGHOST, PGPORT: env.PGPORT, PGDATABASE: env.PGDATABASE, PGUSER: env.PGUSER }, stdio: ['pipe', 'pipe', 'pipe'] });
	let out = '', errors = '';
	child.stdout.setEncoding('utf8').on('data', (text) => (out += text));
	child.stderr.setEncoding('utf8').on('data', (text) => (errors += text));
	child.stdin.on('error', () => {}).end(statement);
	return new Promise((resolve, reject) => child.on('close', (code) => (code === 0 ? resolve(out.trim()) : reject(new Error(`psql: ${errors}`)))));
}

// Tokens whose tables and events do not agree.
const halves = () => sql(`SELECT count(*) FROM (SELECT selector FROM unleash_tokens.api_token) AS t
	FULL JOIN (SELECT selector, count(*) AS made FROM unleash_tokens.api_token_event WHERE type = 'api-token-created' GROUP BY 1) AS e USING (selector)
	FULL JOIN (SELECT selector, array_agg(project ORDER BY ord) AS projects FROM unleash_tokens.api_token_project GROUP BY 1) AS p USING (selector)
	WHERE t.selector IS NULL OR e.made IS DISTINCT FROM 1
		OR p.projects IS DISTINCT FROM CASE WHEN selector IN (SELECT selector FROM unleash_tokens.api_token WHERE NOT all_projects) THEN '{a,b}'::text[] END`);

// ---- Clients ----------------------------------------------------------------------------------------------------------

const secrets = [];
const lost = [];
const clients = 4;

// Makes one token after the other until it is told to stop; what is not a 201 must be a 503 of ours or a broken line.
class Load {
	constructor() {
		this.made = this.refused = this.broken = 0;
		this.going = true;
		this.wrong = [];
		this.done = Promise.all(Array.from({ length: clients }, () => this.client()));
	}
	async client() {
		while (this.going) {
			try {
				const answer = await send('POST', TOKENS, { Authorization: env.ADMIN_TOKEN, 'Content-Type': 'application/json' },
					'{"type":"client","tokenName":"killed","projects":["a","b"]}');
				if (answer.status === 201) {
					secrets.push((await assertCreated(answer)).secret);
					this.made++;
				} else {
					assertUnavailable(answer);
					this.refused++;
					await new Promise((resolve) => setTimeout(resolve, 5));
				}
			} catch (error) {
				if (error instanceof assert.AssertionError) this.wrong.push(error.message);
				else this.broken++;
				await new Promise((resolve) => setTimeout(resolve, 5));
			}
		}
	}
	async stop() {
		this.going = false;
		await this.done;
		assert.deepEqual(this.wrong, []);
		return this;
	}
	toString() {
		return `${this.made} made, ${this.refused} times 503, ${this.broken} broken lines`;
	}
}

function assertUnavailable(answer) {
	assertRefusal(answer, 503, 'UnavailableError');
	assert.deepEqual(answer.headers('Retry-After'), ['1']);
}

const inBatches = async (list, size, body) => {
	for (let at = 0; at < list.length; at += size) await body(list.slice(at, at + size));
};

// All 201s hold, nothing is half, and what was made without an answer is at most one for each request that had none.
async function assertConsistent(load) {
	await inBatches(secrets, 2000, async (some) => {
		const array = `ARRAY[${some.map((secret) => `'${secret}'`)}]`;
		assert.equal(await sql(`SELECT count(*) FROM unleash_tokens.validate_api_tokens(${array})`), String(some.length), 'a token that was answered is gone');
	});
	assert.equal(await halves(), '0', 'half tokens');
	const found = Number(await sql(`SELECT count(*) FROM unleash_tokens.api_token WHERE token_name = 'killed'`));
	const unanswered = found - secrets.length - lost.length;
	assert.ok(unanswered >= 0 && unanswered <= load.broken + load.refused, `${unanswered} made without an answer, of ${load}`);
	lost.push(...Array(unanswered).fill('?'));
	const answer = await send('GET', '/auth', { Authorization: secrets.at(-1) });
	assert.equal(answer.status, 204, 'the last one over HTTP');
	return unanswered;
}

const told = (load, unanswered) => console.log(`figure: ${load}, ${unanswered} made without an answer`);
const makesTokens = async (load, more) => {
	const from = load.made;
	await poll(`${more} more tokens`, 60000, () => load.made >= from + more);
};

// ---- Killed -------------------------------------------------------------------------------------------------------------

await test('it starts', async () => {
	serve = await new Serve(['--fresh']).ready();
	await sql(`INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b')`);
});
if (!serve || serve.code !== undefined) {
	finish();
	process.exit(1);
}

// What comes back by itself.
for (const [what, pattern] of [['a worker of nginx', /^nginx: worker/], ['a backend of PostgREST', /^postgres: unleash_tokens_authenticator .*(SELECT|idle|BIND|COMMIT|transaction)/]])
	await test(`${what} is killed, three times: it comes back by itself, and every 201 holds`, async () => {
		const load = new Load();
		for (let round = 0; round < 3; round++) {
			await makesTokens(load, 20);
			const [victim] = await poll(what, 10000, () => {
				const list = serve.find(pattern);
				return list.length > 0 && list;
			});
			process.kill(victim, 'SIGKILL');
		}
		await makesTokens(load, 20);
		told(await load.stop(), await assertConsistent(load));
		assert.equal(serve.code, undefined, 'bin/serve has ended');
	});

// With these bin/serve ends and stops the rest.  The data is kept.
for (const [what, pattern] of [['PostgREST', /^\S*postgrest\S* \//], ['the master of nginx', /^nginx: master/], ['PostgreSQL', /^\S*\/postgres -D/]])
	await test(`${what} is killed: started again, every 201 holds`, async () => {
		const load = new Load();
		await makesTokens(load, 30);
		const list = serve.find(pattern);
		assert.equal(list.length, 1, `one process: ${list}`);
		process.kill(list[0], 'SIGKILL');
		assert.notEqual(await serve.ended, 0);
		await load.stop();
		serve = await new Serve().ready();
		told(load, await assertConsistent(load));
	});

// ---- No connection ------------------------------------------------------------------------------------------------------

await test('all connections of PostgreSQL are taken: 503 with Retry-After, and it goes on when there are some again', async () => {
	const taker = `
		CREATE EXTENSION IF NOT EXISTS dblink;
		SET client_min_messages = error;
		-- until none is left for PostgREST either
		DO $$
		DECLARE
			n int := 0;
		BEGIN
			LOOP
				PERFORM pg_stat_clear_snapshot();
				PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator';
				BEGIN
					n := n + 1;
					PERFORM public.dblink_connect('taken' || n, 'host=${env.PGHOST} port=${env.PGPORT} dbname=${env.PGDATABASE} user=${env.PGUSER}');
				EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
					PERFORM pg_stat_clear_snapshot();
					EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator');
				END;
			END LOOP;
		END $$;
		SELECT 'taken ' || cardinality(public.dblink_get_connections());\n`;
	const session = spawn('psql', ['-X', '-q', '-A', '-t', '-f', '-'], {
		env: { ...process.env, PGHOST: env.PGHOST, PGPORT: env.PGPORT, PGDATABASE: env.PGDATABASE, PGUSER: env.PGUSER }, stdio: ['pipe', 'pipe', 'inherit'] });
	let out = '';
	session.stdout.setEncoding('utf8').on('data', (text) => (out += text));
	const ended = new Promise((resolve) => session.on('close', resolve));
	session.stdin.write(taker);
	let load;
	try {
		const taken = Number((await poll('connections are taken', 60000, () => out.match(/^taken (\d+)$/m)))[1]);
		assert.ok(taken >= 50, `${taken} taken`);
		await assert.rejects(sql('SELECT 1'), /too many clients|remaining connection slots/);
		const answers = await Promise.all(['GET', 'POST', 'PUT', 'DELETE'].map((method) => poll(`503 for ${method}`, 60000, async () => {
			const answer = await send(method, method === 'POST' ? TOKENS : method === 'GET' ? '/health' : `${TOKENS}/none`,
				{ Authorization: env.ADMIN_TOKEN, 'Content-Type': 'application/json' }, method === 'POST' || method === 'PUT' ? '{"type":"client","tokenName":"killed"}' : undefined);
			return answer.status === 503 && answer;
		})));
		answers.forEach(assertUnavailable);
		load = new Load();
		await poll('refusals', 60000, () => load.refused >= 8);
		console.log(`figure: ${taken} connections taken; ${load}`);
	} finally {
		session.stdin.end();
		await ended;
	}
	await makesTokens(load, 40);
	told(await load.stop(), await assertConsistent(load));
});

await test('in all that, no secret came into a log', () => {
	const dir = path.join(readFileSync(path.join(serveDir, 'where'), 'utf8').trim(), 'log');
	const keys = [...secrets, env.ADMIN_TOKEN].map((secret) => secret.match(SECRET)[4]);
	const files = readdirSync(dir).filter((name) => /\.log(\.1)?$/.test(name));
	assert.ok(files.length >= 6, files.join(' '));
	for (const name of files) {
		const words = new Set(readFileSync(path.join(dir, name), 'latin1').split(/\W+|_/));
		for (const key of keys) assert.ok(!words.has(key), `${name} holds a key`);
	}
});

console.log(`figure: ${secrets.length} tokens were answered and all hold, ${lost.length} were made without an answer`);
serve.child.kill('SIGTERM');
await serve.ended;
finish();
process.exit();
