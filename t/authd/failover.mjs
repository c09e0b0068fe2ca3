// authd with a primary and a streaming standby, which becomes the primary when that is lost.  What is answered meanwhile is right or
// 503, and a token that was deleted before, as soon as both servers knew, is refused by whichever of them is asked.

import { assert, finish, poll, test } from '../http/lib.mjs';
import { Authd, connection, only, pause, PG_RUN, Postgres, withAuthd } from './lib.mjs';

let [primary, standby] = [new Postgres(), new Postgres(`${PG_RUN}/other`)];
const made = await primary.ask(`SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "c", "environment": "development", "projects": ["default"]}') ->> 'secret' FROM generate_series(1, 400)`);
const [secret, ...others] = made.split('\n');
const deleted = [];
Authd.key = secret;

// The standby is made anew, and writes wait for it.
async function pair() {
	primary.psql(['ALTER SYSTEM RESET synchronous_standby_names', 'SELECT pg_reload_conf()']);
	await standby.follow(primary);
	primary.psql([`ALTER SYSTEM SET synchronous_standby_names = '*'`, 'SELECT pg_reload_conf()']);
	await poll('the standby is one', 20000, async () => primary.psql('SELECT sync_state FROM pg_stat_replication') === 'sync');
}

async function promote() {
	assert.equal(await standby.ask('SELECT pg_promote(true, 30)'), 't');
	[primary, standby] = [standby, primary];
}

// Tokens go, one after the other; those of which that is known are in "deleted".
async function remove(going) {
	while (going() && others.length > 0) {
		const key = others.pop();
		try {
			assert.equal(await primary.ask(['SET synchronous_commit = remote_apply', `SELECT unleash_tokens.delete_api_token('${key}')`]), 't');
		} catch {
			return;		// the server has gone, and nobody knows whether the token has
		}
		deleted.push(key);
	}
}

// Asks for good keys, wrong ones and deleted ones until it is stopped.
function load(authd) {
	const good = [], wrong = [];
	let going = true;
	const ask = async (list, key) => {
		const { status } = await authd.auth(key);
		list.push({ status, at: Date.now() });
		await pause(status === 503 ? 10 : 1);
	};
	const clients = Array.from({ length: 16 }, async (_, i) => {
		for (let n = i; going; n++) await (n % 2 === 0 ? ask(good, secret) : ask(wrong, n % 4 === 1 ? 'x' : deleted[n % deleted.length] ?? 'x'));
	});
	return { good, wrong, stop: async () => { going = false; await Promise.all(clients); } };
}

// A test with a new standby, an authd that knows both servers, and load; judged at the end.
const underLoad = (name, attributes, body) => test(name, async () => {
	await pair();
	await withAuthd({ database: connection(attributes, `${primary.dir},${standby.dir}`), deadline: 1000 }, async (authd) => {
		await authd.up();
		const asked = load(authd);
		let going = true;
		const removal = remove(() => going), wanted = deleted.length + 10;
		await poll('some are deleted', 20000, async () => deleted.length >= wanted);
		// the longest time without an answer from then on, in milliseconds
		const gap = (since) => {
			const times = [since, ...asked.good.filter(({ status, at }) => status === 204 && at > since).map(({ at }) => at)];
			return Math.max(...times.slice(1).map((at, i) => at - times[i]));
		};
		try {
			await body(authd, { gap, quiet: () => { going = false; return removal; } });
		} finally {
			going = false;
			await Promise.all([removal, asked.stop()]);
		}
		const seen = only(asked.good, 204, 503);
		only(asked.wrong, 401, 503);
		for (const key of deleted) assert.equal((await authd.auth(key)).status, 401);
		console.log(`figure: ${name}: ${[...seen].map(([status, n]) => `${status} ${n} times`).join(', ')}, ${deleted.length} deleted tokens refused`);
	});
});

await underLoad('the primary is lost, the standby promoted', 'target_session_attrs=read-write', async (authd, { gap, quiet }) => {
	const lost = Date.now();
	await primary.kill();
	await quiet();
	await poll('there is none that writes', 10000, async () => (await authd.auth()).status === 503);
	const promoted = Date.now();
	await promote();
	const done = Date.now();
	await authd.up();
	await pause(300);
	console.log(`figure: read-write: no answer for ${gap(lost)} ms from the loss on, for ${gap(promoted)} ms from pg_promote() on, which took ${done - promoted} ms`);
});

await underLoad('the primary is lost, and the standby answers until it is promoted and behind that', 'target_session_attrs=any', async (authd, { gap, quiet }) => {
	const lost = Date.now();
	await primary.kill();
	await quiet();
	await authd.up();
	console.log(`figure: any: no answer for ${gap(lost)} ms from the loss on`);
	await pause(300);
	const [before, since] = [await authd.metric('lost_total'), Date.now()];
	await promote();
	await authd.up();
	await pause(300);
	assert.equal(await authd.metric('lost_total'), before, 'a promotion costs no connection');
	console.log(`figure: any: no answer for ${gap(since)} ms while it is promoted`);
});

await underLoad('a primary that hangs and is replaced, and goes on when it is not the primary any more', 'target_session_attrs=read-write', async (authd, { gap, quiet }) => {
	const frozen = Date.now(), old = primary;
	await quiet();
	const release = old.freeze();
	await poll('it is not there', 10000, async () => (await authd.auth()).status === 503);
	await promote();
	const promoted = Date.now();
	await authd.up();
	await pause(300);
	console.log(`figure: hanging primary: no answer for ${gap(frozen)} ms, for ${gap(promoted)} ms after the promotion`);
	const lost = await authd.metric('lost_total');
	release();
	await pause(300);
	assert.equal(await authd.metric('lost_total'), lost);
	await old.kill();
});

await underLoad('a standby that is asked first hangs, goes on, is stopped and comes back', 'target_session_attrs=prefer-standby', async (authd, { gap, quiet }) => {
	const on = (server) => Number(server.psql(`SELECT count(*) FROM pg_stat_activity WHERE usename = 'unleash_tokens_auth'`));
	assert.deepEqual([on(primary), on(standby)], [0, 2]);
	await quiet();
	const frozen = Date.now(), release = standby.freeze();
	await poll('it does not answer', 10000, async () => (await authd.auth()).status === 503);
	await authd.up();
	await poll('both connections are to the primary', 20000, async () => on(primary) === 2);
	console.log(`figure: hanging standby: no answer for ${gap(frozen)} ms`);
	release();
	const stopped = Date.now();
	await standby.stop('SIGINT');
	await pause(300);
	assert.equal((await authd.auth()).status, 204);
	console.log(`figure: stopped standby, not asked any more: no answer for ${gap(stopped)} ms`);
	await standby.start();
	await authd.up();
});

for (const one of [standby, primary]) if (one.running) await one.stop('SIGINT');
finish();
