#!/usr/bin/env node
// Admin tokens that are bound to projects, against a model that knows only who has which projects: whatever is done in whatever
// order, none of them sees, makes, changes, deletes or hears of a token that is not all within its projects, nor widens itself.

import { TOKENS, assert, assertCreated, assertRefusal, assertStatus, create, env, finish, minimal, run, send, setSystem, sql, test, useEnv } from './lib.mjs';

useEnv();
const STEPS = Number(process.env.DELEGATE_STEPS ?? 3000);

// ---- Chance that can be repeated ------------------------------------------------------------------------------------

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);
let state = seed;
function random(n) {	// 0 to n - 1
	state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
	return (state >> 8) % n;
}
const one = (list) => list[random(list.length)];
const some = (list) => list.filter(() => random(2) === 0);

// ---- The model ------------------------------------------------------------------------------------------------------

const project = (letter) => `${run} ${letter}`;
const letters = ['a', 'b', 'c', 'd'];
const tokens = new Map();	// selector -> { secret, name, type, projects: null (all) or a list, expires }
const admins = [{ selector: null, secret: env.ADMIN_TOKEN, projects: null }];	// who acts; the first one is never changed

const covers = (outer, inner) => outer === null || (inner !== null && inner.length > 0 && inner.every((p) => outer.includes(p)));
const present = () => [...tokens.values()];
const visible = (admin) => present().filter((token) => covers(admin.projects, token.projects));
const alive = (admin) => admin.selector === null || tokens.has(admin.selector);
const names = ['x', 'y', 'z'].map((name) => `${run} ${name}`);
const auth = (admin, more = {}) => ({ Authorization: admin.secret, ...more });
const json = { 'Content-Type': 'application/json' };

function remember(answer, wish) {
	const { secret } = answer.json;
	const selector = secret.match(/\.v2_(.{22})_/)[1];
	const token = { ...wish, selector, secret };
	tokens.set(selector, token);
	if (token.type === 'admin') admins.push(token);
	return token;
}

// Of a list only what this run has made; the rest is none of its business, but of a bound admin there is no rest.
function assertListed(answer, wanted, bounded) {
	assertStatus(answer, 200);
	const mine = answer.json.tokens.filter((token) => bounded || tokens.has(token.secret.match(/utok[0-9A-Za-z]{18}/)?.[0] ?? token.secret));
	const shape = (token) => [token.tokenName ?? token.name, token.type, token.projects === null ? '*' : token.projects.join('|')].join('#');
	assert.deepEqual(mine.map(shape).sort(), wanted.map(shape).sort());
}

// ---- What can be done -----------------------------------------------------------------------------------------------

const reference = () => {
	const token = random(8) === 0 ? undefined : one(present());
	return { token, text: token === undefined ? one(['none', `utok${'0'.repeat(18)}`]) : one([token.selector, token.secret]) };
};
const wishedProjects = () => (random(6) === 0 ? null : some([...letters, ...(random(5) === 0 ? ['gone'] : [])]).map(project));

const steps = {
	async list(admin) {
		assertListed(await send('GET', TOKENS, auth(admin)), visible(admin), admin.projects !== null);
	},
	async listByName(admin) {
		const name = one([...names, `${run} nobody`]);
		assertListed(await send('GET', `${TOKENS}/${encodeURIComponent(name)}`, auth(admin)), visible(admin).filter((token) => token.name === name), true);
	},
	async listBySelector(admin) {
		const { token } = reference();
		if (token !== undefined)
			assertListed(await send('GET', `${TOKENS}/${token.selector}`, auth(admin)), covers(admin.projects, token.projects) ? [token] : [], true);
	},
	async make(admin) {
		const wish = { name: one(names), type: one(['client', 'frontend', 'backend', 'admin', 'admin']), projects: wishedProjects() };
		if (wish.projects?.length === 0) return;
		const body = { type: wish.type, tokenName: wish.name, ...(wish.projects !== null && { projects: wish.projects }) };
		if (wish.projects === null && random(2) === 0) body.projects = ['*'];
		const answer = await send('POST', TOKENS, auth(admin, json), JSON.stringify(body));
		if (!covers(admin.projects, wish.projects)) assertRefusal(answer, 403, 'PermissionError', { path: '/body/projects' });
		else if (wish.projects?.includes(project('gone'))) assertRefusal(answer, 400, 'BadDataError', { path: '/body/projects' });
		else {
			assertStatus(answer, 201);
			remember(answer, wish);
		}
	},
	async change(admin) {
		const { token, text } = reference();
		const expires = one([null, '2090-01-01T00:00:00.000Z', '2091-01-01T00:00:00.000Z']);
		const answer = await send('PUT', `${TOKENS}/${encodeURIComponent(text)}`, auth(admin, json), JSON.stringify({ expiresAt: expires, projects: ['*'], type: 'admin' }));
		assertStatus(answer, 200);
		assert.equal(answer.text, '');
		if (token !== undefined && covers(admin.projects, token.projects)) token.expires = expires;
	},
	async remove(admin) {
		const { token, text } = reference();
		const answer = await send('DELETE', `${TOKENS}/${encodeURIComponent(text)}`, auth(admin));
		assertStatus(answer, 200);
		assert.equal(answer.text, '');
		if (token !== undefined && covers(admin.projects, token.projects)) tokens.delete(token.selector);
	},
	async listProject(admin) {
		const id = project(one([...letters, 'gone']));
		const answer = await send('GET', `/api/admin/projects/${encodeURIComponent(id)}/api-tokens`, auth(admin));
		if (id === project('gone') || !covers(admin.projects, [id])) assertRefusal(answer, 404, 'NotFoundError');
		else assertListed(answer, visible(admin).filter((token) => token.projects?.includes(id)), true);
	},
	async makeInProject(admin) {
		const id = project(one([...letters, 'gone']));
		const wish = { name: one(names), type: one(['client', 'frontend', 'backend']), projects: [id] };
		const answer = await send('POST', `/api/admin/projects/${encodeURIComponent(id)}/api-tokens`, auth(admin, json),
			JSON.stringify({ type: wish.type, tokenName: wish.name, projects: ['*'] }));
		if (id === project('gone') || !covers(admin.projects, [id])) assertRefusal(answer, 404, 'NotFoundError');
		else {
			assertStatus(answer, 201);
			remember(answer, wish);
		}
	},
	async removeInProject(admin) {
		const id = project(one([...letters, 'gone']));
		const { token, text } = reference();
		const answer = await send('DELETE', `/api/admin/projects/${encodeURIComponent(id)}/api-tokens/${encodeURIComponent(text)}`, auth(admin));
		if (id === project('gone') || !covers(admin.projects, [id]) || token === undefined || !covers(admin.projects, token.projects))
			assertRefusal(answer, 404, 'NotFoundError');
		else if (token.projects?.length !== 1 || token.projects[0] !== id) assertRefusal(answer, 400, 'BadDataError');
		else {
			assertStatus(answer, 200);
			tokens.delete(token.selector);
		}
	},
	// a project goes and comes again: tokens that lost their last one are gone, the others have one less, and it is not theirs again
	async replaceProject() {
		if (random(12) !== 0) return;
		const id = project(one(letters));
		await sql(`DELETE FROM unleash_tokens.project WHERE id = :'id'`, { id });
		await sql(`INSERT INTO unleash_tokens.project (id) VALUES (:'id')`, { id });
		for (const token of present()) {
			if (!token.projects?.includes(id)) continue;
			token.projects = token.projects.filter((other) => other !== id);
			if (token.projects.length === 0) tokens.delete(token.selector);
		}
	},
};

async function stored() {
	const rows = await sql(`SELECT coalesce(jsonb_agg(jsonb_build_array(selector, projects, to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'))), '[]')
		FROM unleash_tokens.api_tokens WHERE token_name = ANY (:'names')`, { names: `{${names.map((name) => `"${name}"`).join(',')}}` });
	return JSON.parse(rows).map(([selector, projects, expires]) => [selector, projects.join('|'), expires ?? ''].join('#')).sort();
}

await test(`${STEPS} random steps of bound admins and one that is not (SEED=${seed}): as the model says`, async () => {
	await sql(letters.map((letter) => `INSERT INTO unleash_tokens.project (id) VALUES ('${project(letter)}');`).join('\n'));
	for (const scope of [['a'], ['a', 'b'], ['c'], ['a', 'b', 'c', 'd']]) {
		const wish = { name: names[0], type: 'admin', projects: scope.map(project) };
		remember(await create({ type: 'admin', tokenName: wish.name, projects: wish.projects }), wish);
	}
	let refused = 0;
	for (let i = 0; i < STEPS; i++) {
		const admin = random(10) === 0 ? admins[0] : one(random(20) === 0 ? admins : admins.filter(alive));
		if (admins.filter(alive).length < 5) await steps.make(admins[0]);
		const name = one(Object.keys(steps));
		if (!alive(admin)) {
			assertStatus(await send('GET', TOKENS, auth(admin)), 401);
			refused++;
			continue;
		}
		try {
			await steps[name](admin);
		} catch (error) {
			error.message = `step ${i}, ${name} by ${admin.projects ?? 'all'}: ${error.message}`;
			throw error;
		}
		if (present().length > 60) for (const token of present().slice(0, 20)) if (token.type !== 'admin') { await send('DELETE', `${TOKENS}/${token.selector}`, auth(admins[0])); tokens.delete(token.selector); }
		if (i % 100 === 0 || i === STEPS - 1)
			assert.deepEqual(await stored(), present().map((token) => [token.selector, token.projects === null ? '*' : token.projects.join('|'), (token.expires ?? '').slice(0, 10)].join('#')).sort(), `step ${i}`);
	}
	console.log(`# figure: ${STEPS} steps, ${refused} of them by tokens that were gone, ${admins.length} admin tokens`);
});

await test('the limit of tokens tells a bound admin no number', async () => {
	const id = project('limited');
	await sql(`INSERT INTO unleash_tokens.project (id) VALUES (:'id')`, { id });
	const admin = await assertCreated(await create({ type: 'admin', tokenName: `${run} limited`, projects: [id] }));
	const reset = await setSystem('unleash_tokens.max_tokens', '1');
	try {
		const answer = await send('POST', TOKENS, { Authorization: admin.secret, ...json }, JSON.stringify({ ...minimal(), projects: [id] }));
		assertRefusal(answer, 400, 'ExceedsLimitError');
		assert.doesNotMatch(answer.json.details[0].message, /\d/);
	} finally {
		await reset();
	}
});

finish();
