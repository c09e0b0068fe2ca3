#!/usr/bin/env node
// What does a client see of three nodes when one of them is killed, frozen, cut off, relieved or made anew?  Whatever was answered is
// written down here, and held against what is answered later.
//
// t/ha/run starts it and does what it asks for on descriptors 3 (commands) and 4 (answers).

import http from 'node:http';
import net from 'node:net';
import readline from 'node:readline';

import { assert, finish, poll, test } from '../http/lib.mjs';

const { HA_NET: prefix, HA_ADMIN: admin, HA_PHASES: wanted } = process.env;
const offset = Number(process.env.HA_OFFSET);
const TOKENS = '/api/admin/api-tokens';
const nodes = [1, 2, 3];
const lb = { host: `${prefix}.10`, port: 8000 + offset };
const direct = (node) => ({ host: `${prefix}.1${node}`, port: 8080 + offset });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const figure = (text) => console.log(`figure: ${text}`);
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

// ---- The shell that started this -------------------------------------------------------------------------------------

const commands = new net.Socket({ fd: 3, readable: false, writable: true });
const waiting = [];
readline.createInterface({ input: new net.Socket({ fd: 4, readable: true, writable: false }) }).on('line', (line) => {
	const { resolve, reject, command } = waiting.shift();
	if (line.startsWith('ok')) resolve(line.slice(3).trim());
	else reject(new Error(`${command}: ${line}`));
});
const tell = (command) => new Promise((resolve, reject) => {
	waiting.push({ resolve, reject, command });
	commands.write(`${command}\n`);
});
const sql = async (node, text) => Buffer.from((await tell(`sql ${node} ${Buffer.from(text).toString('base64')}`)).replace(/ /g, ''), 'base64').toString().trim();
const leader = () => poll('a leader', 60000, async () => Number(await tell('leader')));

// ---- Requests ---------------------------------------------------------------------------------------------------------

const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

// Status 0: nothing was answered, and what became of it is not known.
function ask(place, method, path, key, body, patience = 5000) {
	return new Promise((resolve) => {
		const sent = Date.now();
		const request = http.request({ ...place, method, path, agent, headers: { Authorization: key, ...(body && { 'Content-Type': 'application/json' }) } }, (response) => {
			let text = '';
			response.on('data', (data) => (text += data)).on('error', () => {});
			response.on('close', () => done(response.complete ? response.statusCode : 0, text));
		});
		const timer = setTimeout(() => request.destroy(new Error('patience')), patience);
		const done = (status, text) => (clearTimeout(timer), resolve({ status, text, sent, at: Date.now() }));
		request.on('error', (error) => done(0, error.message));
		request.end(body && JSON.stringify(body));
	});
}

const create = async (place = lb) => {
	const answer = await ask(place, 'POST', TOKENS, admin, { type: 'client', tokenName: 'ha', environment: 'development' });
	return { ...answer, secret: answer.status === 201 ? JSON.parse(answer.text).secret : undefined };
};
const selectorOf = (secret) => secret.match(/v2_(\w{22})_/)[1];
const remove = (token, place = lb) => ask(place, 'DELETE', `${TOKENS}/${token.selector}`, admin);
const check = (token, place = lb) => ask(place, 'GET', '/auth', token.secret);
const YES = 204, NO = 401;

// ---- The load -----------------------------------------------------------------------------------------------------------

// Every token: its secret, when it was created and deleted by an answer, and the start of the last check that was answered yes.
class Load {
	tokens = [];
	answers = { create: [], remove: [], check: [], apart: [] };	// when each kind was last answered as it should be
	stale = [];	// a deleted token that was accepted
	lost = [];	// one that is there and was refused
	odd = new Map();
	running = true;

	note(kind, answer) {
		this.odd.set(`${kind} ${answer.status}`, (this.odd.get(`${kind} ${answer.status}`) ?? 0) + 1);
	}
	pick(kind) {
		const some = this.tokens.filter(kind);
		return some[Math.floor(Math.random() * some.length)];
	}
	async loop(pause, body) {
		while (this.running) {
			await body();
			await sleep(pause);
		}
	}
	createApart() {
		return this.createOne(direct(4), 'apart');
	}
	async createOne(place = lb, kind = 'create') {
		const answer = await create(place);
		if (answer.status !== 201) return this.note(kind, answer);
		this.answers[kind].push(answer.at);
		this.tokens.push({ secret: answer.secret, selector: selectorOf(answer.secret), created: answer.at, used: 0 });
	}
	async removeOne() {
		const token = this.pick((one) => !one.asked);
		if (!token || this.tokens.length < 20) return;
		token.asked = Date.now();
		const answer = await remove(token);
		if (answer.status !== 200) return this.note('delete', answer);
		token.deleted = answer.at;
		this.answers.remove.push(answer.at);
		await Promise.all([this.checkOne(token, lb, 'HAProxy'), ...nodes.map((node) => this.checkOne(token, direct(node), `node ${node}`))]);
	}
	// What was known before the question was sent counts: a token whose DELETE is under way may be either.
	async checkOne(token, place, by) {
		const was = { deleted: token.deleted, asked: token.asked };
		const answer = await check(token, place);
		if (was.deleted && answer.status === YES) this.stale.push({ by, after: answer.sent - was.deleted, at: answer.at });
		if (!token.asked && answer.status === NO) this.lost.push({ by, after: answer.sent - token.created, at: answer.at });
		if (answer.status === YES) token.used = Math.max(token.used, answer.sent);
		if (![YES, NO].includes(answer.status)) this.note(`check by ${by}`, answer);
		else if (by === 'HAProxy') this.answers.check.push(answer.at);
	}
	start() {
		this.began = Date.now();
		const checkAny = (kind, place = lb, by = 'HAProxy') => () => {
			const token = this.pick(kind);
			return token && this.checkOne(token, place, by);
		};
		this.loops = [this.loop(40, () => this.createOne()), this.loop(40, () => this.createOne()), this.loop(60, () => this.removeOne()),
			this.loop(60, () => this.createApart()), this.loop(60, checkAny((one) => one.deleted, direct(4), 'PostgREST apart')), this.loop(60, checkAny((one) => !one.asked, direct(4), 'PostgREST apart')),
			this.loop(20, checkAny((one) => !one.asked)), this.loop(20, checkAny((one) => !one.asked)), this.loop(20, checkAny((one) => one.deleted))];
		return this;
	}
	async stop() {
		this.running = false;
		await Promise.all(this.loops);
	}
	// The longest time without an answer of that kind since then.
	gap(kind, since) {
		let last = since, longest = 0;
		for (const at of [...this.answers[kind].filter((one) => one > since), Date.now()]) {
			longest = Math.max(longest, at - last);
			last = at;
		}
		return longest;
	}
	// Both kinds are answered again: for a while, without a pause.
	async settled(since, ms = 120000) {
		const goesOn = (kind) => {
			const recent = this.answers[kind].filter((one) => one > Math.max(since, Date.now() - 3000));
			return recent.length > 5 && recent[0] < Date.now() - 2000 && recent.every((one, i) => !i || one - recent[i - 1] < 1000);
		};
		await poll('writes and checks go on', ms, () => Date.now() > since + 5000 && goesOn('create') && goesOn('check'));
	}
}

// ---- The cluster --------------------------------------------------------------------------------------------------------

const patroni = (node, path) => ask({ host: `${prefix}.1${node}`, port: 8008 + offset }, 'GET', path, '');

// Everybody follows the leader, is waited for, and is asked by HAProxy.
async function healthy() {
	await poll('three nodes in step', 120000, async () => {
		const node = Number(await tell('leader'));
		return (await sql(node, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'")) === '2' &&
			(await Promise.all(nodes.flatMap((one) => [ask(direct(one), 'GET', '/health', ''), patroni(one, '/read-only-sync')]))).every((answer) => answer.status === 200);
	});
	await sleep(3000);	// HAProxy has asked three times
	return leader();
}

// What was answered is true on every node, and the times of use of what was checked are there.
async function judge(load, name, { mayLose = false, least = 10 } = {}) {
	const head = await healthy();
	const there = load.tokens.filter((one) => !one.asked), gone = load.tokens.filter((one) => one.deleted);
	let lost = 0, revived = 0;
	for (const node of nodes)
		for (let i = 0; i < load.tokens.length; i += 200) {
			const some = load.tokens.slice(i, i + 200).filter((one) => !one.asked || one.deleted);
			const valid = new Set(JSON.parse(await sql(node, `SELECT coalesce(jsonb_agg(s), '[]') FROM unleash_tokens.api_token JOIN unnest(ARRAY[${some.map((one) => `'${one.selector}'`)}]::text[]) AS s ON s = selector`)));
			for (const token of some)
				if (token.deleted && valid.has(token.selector)) revived++;
				else if (!token.deleted && !valid.has(token.selector)) lost++;
		}
	const seen = new Map();
	const unseen = () => there.filter((one) => one.used && !(seen.get(one.selector) >= one.used));
	await poll('times of use', 30000, async () => {
		for (const line of (await sql(head, "SELECT selector || ' ' || floor(extract(epoch FROM seen_at) * 1000) FROM unleash_tokens.api_token WHERE seen_at IS NOT NULL")).split('\n')) {
			const [selector, at] = line.split(' ');
			seen.set(selector, Number(at) + 1);
		}
		return unseen().length === 0;
	}).catch(() => {});
	const used = there.filter((one) => one.used).length;
	figure(`${name}: ${there.length} tokens answered and ${gone.length} deletions; lost ${lost}, revived ${revived}; seenAt behind: ${unseen().length} of ${used}`);
	assert.ok(there.length > 2 * least && gone.length >= least, 'too little was answered to say anything');
	assert.equal(lost, 0, 'answered tokens lost');
	assert.equal(revived, 0, 'deleted tokens that are there');
	if (!mayLose) assert.equal(unseen().length, 0, 'times of use lost');
}

const spell = (list) => JSON.stringify(Object.fromEntries([...new Set(list.map((one) => one.by))].map((by) => {
	const some = list.filter((one) => one.by === by);
	return [by, `${some.length} times, up to ${Math.max(...some.map((one) => one.after))} ms after the answer`];
})));

function tellGaps(load, name, since) {
	figure(`${name}: writes again after ${seconds(load.gap('create', since))}, checks after ${seconds(load.gap('check', since))}; writes by PostgREST apart after ${seconds(load.gap('apart', since))}`);
	console.log(`# ${name}: not answered as usual: ${JSON.stringify(Object.fromEntries(load.odd))}`);
}

// ---- Phases -------------------------------------------------------------------------------------------------------------

// break_it(leader) under load, until writes and checks go on; then mend(leader), and all must be as it was answered.
async function phase(name, breakIt, mend, { mayLose = true, takesOver = true, while: meanwhile = async () => {} } = {}) {
	const old = await healthy();
	const load = new Load().start();
	await sleep(3000);
	const since = Date.now();
	await breakIt(old, load);
	if (takesOver)
		await poll('another primary', 90000, async () => (await Promise.all(nodes.filter((one) => one !== old).map((one) => patroni(one, '/primary')))).some((answer) => answer.status === 200));
	const took = Date.now();
	await load.settled(since);
	tellGaps(load, name, since);
	await meanwhile(load, old, took);
	await mend(old);
	await load.stop();
	await judge(load, name, { mayLose });
	const by = (list) => list.filter((one) => one.by === 'HAProxy');
	if (load.stale.length) figure(`${name}: deleted tokens accepted: ${spell(load.stale)}`);
	assert.equal(by(load.stale).length, 0, `accepted after the answer: ${spell(load.stale)}`);
	assert.equal(by(load.lost).length, 0, `refused after the answer: ${spell(load.lost)}`);
	return load;
}

// Asks a node behind HAProxy's back, many times a second: deleted tokens, and for new ones, until some time after the thaw.
async function ambush(load, node, release, over = sleep(20000)) {
	let running = true, accepted = [], written = 0;
	const deleted = load.tokens.filter((one) => one.deleted).slice(-5);
	const ours = () => load.tokens.filter((one) => one.deleted).slice(-5);
	const loops = [async () => {
		const token = ours()[Math.floor(Math.random() * 5)] ?? deleted[0];
		const answer = await ask(direct(node), 'GET', '/auth', token.secret, undefined, 20000);
		if (answer.status === YES && answer.sent > token.deleted) accepted.push(answer.at);
	}, async () => {
		const answer = await create(direct(node));
		if (answer.status !== 201) return;
		written++;
		load.tokens.push({ secret: answer.secret, selector: selectorOf(answer.secret), created: answer.at, used: 0 });
	}].map(async (body) => {
		while (running) {
			await body();
			await sleep(2);
		}
	});
	await sleep(1000);
	const since = Date.now();
	await release();
	await over;
	running = false;
	await Promise.all(loops);
	const late = accepted.filter((at) => at > since);
	return { accepted: accepted.length, text: `deleted tokens accepted ${accepted.length} times${late.length ? `, the last ${seconds(Math.max(...late) - since)} after that` : ''}; tokens made there: ${written}` };
}

const phases = {
	async switchover(name) {
		await phase(name, async (old) => {
			const to = nodes.find((one) => one !== old);
			console.log(`# ${(await tell(`ctl switchover unleash --master pg${old} --candidate pg${to} --force`)).match(/Successfully.*?"pg."/)}`);
		}, async () => {}, { mayLose: false });
	},

	async kill(name) {
		await phase(name, (old) => tell(`kill ${old}`), (old) => tell(`start ${old}`));
	},

	// What went on in it before it hears that it is no primary any more is asked directly.
	async freeze(name) {
		await phase(name, (old) => tell(`freeze ${old}`), async () => {}, {
			while: async (load, old) => figure(`${name}: the old primary goes on, asked directly: ${(await ambush(load, old, () => tell(`thaw ${old}`))).text}`),
		});
	},

	// It cannot reach etcd, and everybody can reach it: asked directly from then on until long after another has taken over.
	async cut(name) {
		let told, end;
		const over = new Promise((resolve) => (end = resolve));
		await phase(name, async (old, load) => {
			told = ambush(load, old, () => tell(`cut ${old}`), over);
		}, (old) => tell(`mend ${old}`), {
			while: async () => {
				setTimeout(end, 10000);
				figure(`${name}: the old primary, asked directly: ${(await told).text}`);
				assert.equal((await told).accepted, 0, 'the setting max_silence: it has begun anew and has heard nobody');
			},
		});
	},

	// Patroni hangs, and its PostgreSQL goes on.
	async hang(name) {
		let told, end;
		const over = new Promise((resolve) => (end = resolve));
		await phase(name, async (old, load) => {
			told = ambush(load, old, () => tell(`hang ${old}`), over);
		}, async () => {}, {
			while: async (load, old) => {
				setTimeout(end, 10000);
				figure(`${name}: the old primary, asked directly: ${(await told).text}`);
				await tell(`thaw ${old}`);
			},
		});
	},

	// One that writes wait for.
	async standby(name) {
		let node;
		await phase(name, (old) => tell(`freeze ${(node = nodes.find((one) => one !== old))}`), () => tell(`thaw ${node}`), { takesOver: false });
	},

	// Two of three die at once: there is no majority.
	async alone(name) {
		const old = await healthy(), dead = [old, nodes.find((one) => one !== old)];
		const load = new Load().start();
		await sleep(3000);
		const since = Date.now();
		for (const node of dead) await tell(`kill ${node}`);
		await sleep(80000);
		await load.stop();
		const last = (kind) => load.answers[kind].filter((at) => at < Date.now() - 3000).at(-1) - since;
		figure(`${name}: writes for ${seconds(last('create'))}, checks for ${seconds(last('check'))}`);
		for (const node of dead) await tell(`start ${node}`);
		await judge(load, name, { mayLose: true, least: -1 });
		assert.deepEqual(load.stale.filter((one) => one.by === 'HAProxy'), []);
	},

	async rebuild(name) {
		await phase(name, async (old) => {
			const node = nodes.find((one) => one !== old);
			console.log(`# ${(await tell(`ctl reinit unleash pg${node} --force`)).slice(-100)}`);
		}, async () => {}, { takesOver: false });
	},

	// The same, with PgBouncer on each node.
	async pgbouncer(name) {
		await tell('bounce');
		await phases.switchover(`${name}, switchover`);
		await phases.kill(`${name}, kill`);
	},
};

// ---- Figures, when they are asked for: bench/machines ---------------------------------------------------------------------

const cpu = (node) => tell(`cpu ${node}`).then((line) => line.split(' ').map(Number));
const total = (used) => used.reduce((sum, one) => sum + one, 0);
const shown = (count, used) => `${(total(used) / count).toFixed(0)} us (nginx ${(used[0] / count).toFixed(0)}, PostgREST ${(used[1] / count).toFixed(0)}, PostgreSQL ${(used[2] / count).toFixed(0)})`;

// What each node uses while so many requests are answered by eight clients, and until the notes are written; without what it uses anyway.
async function spend(count, request, idle) {
	const before = await Promise.all(nodes.map(cpu)), began = Date.now();
	let next = 0;
	await Promise.all(Array.from({ length: 8 }, async () => {
		for (let i; (i = next++) < count;) await request(i);
	}));
	await sleep(12000);
	const after = await Promise.all(nodes.map(cpu)), took = (Date.now() - began) / 1000;
	return nodes.map((node, i) => after[i].map((used, part) => used - before[i][part] - (idle ? idle[i][part] * took : 0))).map((used) => (idle ? used : used.map((one) => one / took)));
}

async function machines() {
	const head = await healthy(), others = nodes.filter((one) => one !== head);
	const secrets = JSON.parse(await sql(head, `SELECT jsonb_agg(t ->> 'secret') FROM jsonb_array_elements(unleash_tokens.create_api_tokens(
		(SELECT jsonb_agg('{"type": "client", "tokenName": "bench", "environment": "development"}'::jsonb) FROM generate_series(1, 1000)))) AS t`));
	const idle = await spend(0, undefined, undefined);
	const checks = async (name, place) => {
		const count = Number(process.env.HA_CHECKS ?? 6000);
		const used = await spend(count, async (i) => assert.equal((await ask(place(i), 'GET', '/auth', secrets[i % 1000])).status, YES), idle);
		const all = total(used.flat()), primary = total(used[head - 1]);
		figure(`${name}: a check takes ${shown(count, [0, 1, 2].map((part) => total(used.map((one) => one[part]))))}; of it on the primary ${(100 * primary / all).toFixed(0)} %, ${(primary / count).toFixed(0)} us`);
	};
	await checks('all checks to the primary', () => direct(head));
	await checks('checks by HAProxy to three nodes', () => lb);
	await checks('checks to the two standbys only', (i) => direct(others[i % 2]));
	const creates = Number(process.env.HA_CREATES ?? 2000);
	const used = await spend(creates, async () => assert.equal((await create()).status, 201), idle);
	figure(`creates by HAProxy: the primary takes ${shown(creates, used[head - 1])}, each standby ${(others.reduce((sum, one) => sum + total(used[one - 1]), 0) / 2 / creates).toFixed(0)} us`);
	const make = (count) => `SELECT count(*) FROM jsonb_array_elements(unleash_tokens.create_api_tokens((SELECT jsonb_agg('{"type": "client", "tokenName": "note", "environment": "development"}'::jsonb) FROM generate_series(1, ${count}))))`;
	await sql(head, make(20000));
	await sleep(12000);
	const notes = await spend(1, () => sql(head, "SELECT unleash_tokens.note_usage(array_agg(selector), array_agg(clock_timestamp())) FROM unleash_tokens.api_token WHERE token_name = 'note'"), idle);
	figure(`notes, each written: the primary takes ${(total(notes[head - 1]) / 20000).toFixed(0)} us, each standby ${(others.reduce((sum, one) => sum + total(notes[one - 1]), 0) / 2 / 20000).toFixed(0)} us`);
}
phases.machines = machines;

await test('three nodes in step', async () => {
	const head = await healthy();
	for (const node of nodes) assert.equal((await patroni(node, '/sync')).status, node === head ? 503 : 200);
});
for (const name of wanted ? wanted.split(' ') : Object.keys(phases).filter((one) => one !== 'machines')) await test(name, () => phases[name](name));
finish();
process.exit();
