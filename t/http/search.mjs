#!/usr/bin/env node
// What the console asks for: pages of tokens and events, the choices for a new token, the findings of doctor().
//
// Searches of many random criteria are gone through page by page and compared with what the view has: every token that meets
// them, each once, in the order that the answer names.  SEARCHES (default 150) and SEED choose them.

import {
	TOKENS, assert, assertRefusal, assertStatus, create, env, finish, keyed, minimal, run, seeded, send, sql, test, useEnv,
} from './lib.mjs';

useEnv();
const PAGES = '/api/admin/tokens';
const SEARCHES = Number(process.env.SEARCHES ?? 150);
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9));
const DAY = 86400000;

const chance = seeded(SEED);
const one = (list) => list[Math.floor(chance() * list.length)];

const query = (criteria) => Object.entries(criteria).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
const ask = (criteria, key = env.ADMIN_TOKEN, at = PAGES) => send('GET', `${at}${Object.keys(criteria).length ? '?' : ''}${query(criteria)}`, { Authorization: key });
const projects = ['one', 'two', 'three'].map((name) => `${run}-${name}`);

// ---- What there is --------------------------------------------------------------------------------------------------

// all kinds: imported and made here, expired and not, used and not, in all states of a rotation, with names that differ in case

const setUp = `
	INSERT INTO unleash_tokens.project (id) VALUES ('${projects[0]}'), ('${projects[1]}'), ('${projects[2]}');
	SELECT count(*) FROM jsonb_array_elements(unleash_tokens.create_api_tokens((
		SELECT jsonb_agg(jsonb_build_object('type', CASE WHEN i % 9 = 8 THEN 'admin' ELSE (ARRAY['client', 'backend', 'frontend'])[1 + i % 3] END,
			'tokenName', (ARRAY['${run} Alpha ', '${run} alpha ', '${run.toUpperCase()} beta ', 'ünï ${run} ', repeat('${run}', 9)])[1 + i % 5] || i % 13,
			'environment', CASE WHEN i % 9 = 8 THEN NULL WHEN i % 2 = 0 THEN 'development' ELSE 'production' END,
			'projects', CASE WHEN i % 4 = 0 THEN '["*"]'::jsonb WHEN i % 4 = 1 THEN '["${projects[0]}"]' WHEN i % 4 = 2 THEN '["${projects[0]}", "${projects[1]}"]' ELSE '["${projects[2]}"]' END) - CASE WHEN i % 9 = 8 THEN 'environment' ELSE '' END)
		FROM generate_series(1, 400) AS i)));
	UPDATE unleash_tokens.api_token AS t SET
		expires_at = CASE n % 4 WHEN 0 THEN now() - make_interval(hours => n) WHEN 1 THEN now() + make_interval(hours => 1 + n % 50 * 20) END,
		seen_at = CASE n % 3 WHEN 0 THEN now() - make_interval(days => n % 70) END,
		created_at = CASE WHEN n % 2 = 0 THEN now() - make_interval(days => 40) ELSE t.created_at END,
		next_verifier = CASE WHEN n % 7 < 3 THEN sha256(selector::bytea) END, activate_by = CASE WHEN n % 7 < 3 THEN now() + make_interval(hours => 2 - n % 7 * 2 + n % 5) END,
		grace = CASE WHEN n % 7 < 3 THEN interval '1 day' END, old_until = CASE WHEN n % 7 = 2 THEN now() + make_interval(hours => n % 4 - 2, mins => 5) END
	FROM (SELECT selector AS s, row_number() OVER (ORDER BY selector)::integer AS n FROM unleash_tokens.api_token WHERE token_name ILIKE '%${run}%') AS n WHERE n.s = t.selector;
	SELECT count(unleash_tokens.import_api_tokens(jsonb_build_array(jsonb_build_object('secret', '*:development.v2_' || substr(md5('${run}' || i), 1, 22) || '_' || repeat('k', 43),
		'type', 'client', 'tokenName', '${run} alpha imported', 'environment', 'development', 'projects', '["*"]'::jsonb)))) FROM generate_series(1, 60) AS i;
	SELECT count(unleash_tokens.import_api_tokens(jsonb_build_array(jsonb_build_object('secret', '*:development.v2_z' || substr(md5('${run}z' || i), 1, 21) || '_' || repeat('k', 43),
		'type', 'frontend', 'tokenName', '${run} imported', 'environment', 'development', 'projects', '["*"]'::jsonb)))) FROM generate_series(1, 20) AS i;`;

// ---- The model ------------------------------------------------------------------------------------------------------

const bytes = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const nameKey = (name) => [...name].slice(0, 64).join('').replace(/[A-Z]/g, (letter) => letter.toLowerCase());
const rank = (selector) => (selector.startsWith('utok') ? 2 : bytes(selector, 'utok') > 0 ? 1 : 0);
const ends = (token) => (token.oldUntil ?? token.activateBy);
const orders = {
	created: (a, b) => rank(a.selector) - rank(b.selector) || bytes(a.selector, b.selector),
	name: (a, b) => bytes(nameKey(a.name), nameKey(b.name)) || bytes(a.selector, b.selector),
	expires: (a, b) => a.expiresAt - b.expiresAt || bytes(a.selector, b.selector),
	rotation: (a, b) => ends(a) - ends(b) || bytes(a.selector, b.selector),
};

async function readAll() {
	const rows = JSON.parse(await sql(`SELECT json_agg(json_build_object('selector', a.selector, 'name', a.token_name, 'type', a.type,
		'environment', coalesce(a.environment, '*'), 'projects', a.projects, 'createdAt', extract(epoch FROM a.created_at) * 1000,
		'expiresAt', extract(epoch FROM a.expires_at) * 1000, 'seenAt', extract(epoch FROM a.seen_at) * 1000, 'rotation', a.rotation,
		'activateBy', extract(epoch FROM a.activate_by) * 1000, 'oldUntil', extract(epoch FROM a.old_until) * 1000)) FROM unleash_tokens.api_tokens AS a`));
	return rows.filter((row) => row.selector !== env.ADMIN_TOKEN.match(/\.v2_(.{22})_/)[1]);	// used by each call
}

const isExpired = (token, now) => token.expiresAt !== null && token.expiresAt <= now;
const states = {
	valid: (token, now) => !isExpired(token, now),
	expired: isExpired,
	expiring: (token, now, days) => token.expiresAt !== null && !isExpired(token, now) && token.expiresAt <= now + days * DAY,
	pending: (token) => token.rotation === 'pending',
	grace: (token) => token.rotation === 'grace',
	unused: (token, now, days) => !isExpired(token, now) && Math.max(token.seenAt ?? 0, token.createdAt) <= now - days * DAY,
};

function meets(token, criteria, own, now) {
	const { type, project, environment, state: wanted, days = 30, name, selector } = criteria;
	return (!type || token.type === type) && (!project || token.projects.includes(project)) && (!environment || token.environment === environment) &&
		(!wanted || states[wanted](token, now, days)) && (!name || nameKey(token.name + '').startsWith(nameKey(name)) && token.name.toLowerCase().startsWith(name.toLowerCase())) &&
		(!selector || token.selector.startsWith(selector)) && (!own || token.projects.every((id) => own.includes(id)));
}

function expected(all, criteria, own, sort, now) {
	const order = sort.replace('-', '');
	const found = all.filter((token) => meets(token, criteria, own, now) && (order !== 'expires' || token.expiresAt !== null) &&
		(order !== 'rotation' || token.rotation !== null)).sort(orders[order]);
	return (sort.startsWith('-') ? found.reverse() : found).map((token) => token.selector);
}

async function goThrough(criteria, key) {
	const found = [];
	let page, pages = 0;
	do {
		const answer = await ask(page ? { ...criteria, after: page.next, sort: page.sort } : criteria, key);
		assertStatus(answer, 200);
		page = answer.json;
		found.push(...page.tokens.map((token) => token.secret));
		assert.ok(page.tokens.length <= (criteria.limit ?? 50), 'not more than asked for');
		assert.ok(++pages < 500, 'it ends');
	} while (page.next !== null);
	return { found, sort: page.sort, now: Date.parse(page.now), pages };
}

function randomCriteria() {
	const criteria = {};
	const take = (share, name, list) => { if (chance() < share) criteria[name] = one(list); };
	criteria.limit = one([1, 7, 50, 200]);
	take(0.4, 'sort', ['created', '-created', 'name', '-name', 'expires', '-expires', 'rotation', '-rotation']);
	take(0.3, 'type', ['client', 'backend', 'frontend', 'admin']);
	take(0.3, 'project', [...projects, 'default', `${run}-none`]);
	take(0.2, 'environment', ['development', 'production', '*']);
	take(0.4, 'state', Object.keys(states));
	take(0.3, 'days', [1, 10, 3650]);
	take(0.3, 'name', [`${run} alpha`, `${run} ALPHA 1`, run, `ünï ${run}`, `${run}`.repeat(9), '%', '_']);
	take(0.15, 'selector', ['utok', 'z', 'a', 'utokV']);
	if (!criteria.name && !criteria.project && criteria.limit === 1) criteria.limit = 7;
	return criteria;
}

// ---- Tests ----------------------------------------------------------------------------------------------------------

const admin = await create(minimal({ type: 'admin', projects: projects.slice(0, 2), tokenName: `${run} bound` }));
await test('tokens of all kinds are made for the searches', async () => {
	assertRefusal(admin, 400, 'BadDataError');	// before the projects are there
	await sql(setUp);
});
const bound = (await create(minimal({ type: 'admin', environment: undefined, projects: projects.slice(0, 2), tokenName: `${run} bound` }))).json.secret;

for (const [who, key, own] of [['every token', env.ADMIN_TOKEN, null], ['those of its projects, for a token that is bound to them', bound, projects.slice(0, 2)]])
	await test(`pages have ${who}, once, in order (${SEARCHES} searches, seed ${SEED})`, async () => {
		const all = await readAll();
		const self = bound.match(/\.v2_(.{22})_/)[1];
		for (let i = 0; i < SEARCHES; i++) {
			const criteria = i === 0 ? {} : randomCriteria();
			const { found, sort, now } = await goThrough(criteria, key);
			const used = new Set([env.ADMIN_TOKEN.match(/\.v2_(.{22})_/)[1], ...(own && criteria.state === 'unused' ? [self] : [])]);
			assert.deepEqual(found.filter((selector) => !used.has(selector)), expected(all, criteria, own, sort, now).filter((selector) => !used.has(selector)), JSON.stringify(criteria));
		}
	});

await test('a token is shown as Unleash shows it, with who made it', async () => {
	const { json: made } = await create(minimal({ tokenName: `${run} shown` }));
	const [token] = (await ask({ name: `${run} shown` })).json.tokens;
	const { secret, ...shown } = made;
	assert.deepEqual(token, { ...shown, secret: secret.match(/\.v2_(.{22})_/)[1], createdBy: 'first' });
});

await test('the newest comes first, and what is made while one goes through the pages moves nothing', async () => {
	const first = (await ask({ limit: 5 })).json;
	const { json: made } = await create(minimal({ tokenName: `${run} late` }));
	const second = (await ask({ limit: 5, after: first.next })).json;
	assert.equal(new Set([...first.tokens, ...second.tokens].map((token) => token.secret)).size, 10);
	assert.equal((await ask({ limit: 1 })).json.tokens[0].secret, made.secret.match(/\.v2_(.{22})_/)[1]);
	// behind one that is gone by now
	assertStatus(await send('DELETE', `${TOKENS}/${first.next}`, keyed()), 200);
	assert.deepEqual((await ask({ limit: 5, after: first.next })).json.tokens, second.tokens);
});

await test('what cannot be read is refused, and said', async () => {
	for (const [criteria, words] of [
		[{ limit: 0 }, 'limit'], [{ limit: 201 }, 'limit'], [{ limit: '1e1' }, 'limit'], [{ limit: '' }, 'limit'], [{ limit: '99999999999999' }, 'limit'],
		[{ after: 'x' }, 'after'], [{ after: `${'a'.repeat(22)}.1` }, 'after'], [{ after: 'a'.repeat(22), sort: 'expires' }, 'after'],
		[{ after: `${'a'.repeat(22)}.9223372036854775808`, sort: 'expires' }, 'after'], [{ sort: 'seen' }, 'sort'], [{ sort: '--name' }, 'sort'],
		[{ type: 'clients' }, 'type'], [{ state: 'any' }, 'state'], [{ state: '' }, 'state'], [{ days: 3651 }, 'days'], [{ days: -1 }, 'days'],
		[{ selector: 'a b' }, 'selector'], [{ selector: 'a'.repeat(23) }, 'selector'], [{ selector: '' }, 'selector'],
	]) {
		const answer = await ask(criteria);
		assertRefusal(answer, 400, 'BadDataError');
		assert.match(answer.json.details[0].message, new RegExp(`query parameter ${words} must be .* You sent`), JSON.stringify(criteria));
	}
	for (const raw of ['?limit=1&limit=1', '?offset=1', '?limit', '?name=%ff', '?name=%00', '?name=%'])
		assertRefusal(await send('GET', PAGES + raw, keyed()), 400, 'BadDataError');
	const secret = env.ADMIN_TOKEN;
	assert.ok(!(await ask({ selector: secret })).body.toString().includes(secret.slice(-43)), 'no secret is repeated');
});

await test('events come page by page, the newest first, of a token or a type', async () => {
	const { json: made } = await create(minimal({ tokenName: `${run} evented` }));
	const selector = made.secret.match(/\.v2_(.{22})_/)[1];
	assertStatus(await send('DELETE', `${TOKENS}/${selector}`, keyed()), 200);
	const of = (criteria) => ask(criteria, env.ADMIN_TOKEN, '/api/admin/token-events');
	const both = (await of({ selector })).json;
	assert.deepEqual(both.events.map((event) => event.type), ['api-token-deleted', 'api-token-created']);
	assert.deepEqual(Object.keys(both.events[0]), ['id', 'at', 'type', 'selector', 'tokenName', 'actor', 'actorSelector', 'data', 'preData']);
	assert.equal(both.events[0].preData.tokenName, `${run} evented`);
	assert.equal((await of({ selector, type: 'api-token-created' })).json.events.length, 1);
	const all = [];
	let page, next;
	do {
		page = (await of({ limit: 200, ...(next ? { after: next } : {}) })).json;
		all.push(...page.events.map((event) => event.id));
	} while ((next = page.next) !== null);
	assert.equal(all.join(), await sql("SELECT string_agg(id::text, ',' ORDER BY id DESC) FROM unleash_tokens.api_token_event"));
	for (const criteria of [{ limit: 0 }, { after: 'x' }, { after: '' }, { after: '-1' }, { actor: 'x' }]) assertRefusal(await of(criteria), 400, 'BadDataError');
	assert.deepEqual((await of({ after: 1 })).json, { events: [], next: null });
});

await test('doctor() is answered, and what a new token may be given', async () => {
	const { json } = await ask({}, env.ADMIN_TOKEN, '/api/admin/doctor');
	assert.equal(String(json.findings.length), await sql('SELECT count(*) FROM unleash_tokens.doctor()'));
	assert.deepEqual(Object.keys(json.findings[0]), ['check', 'status', 'detail', 'hint']);
	const { json: choices } = await ask({}, env.ADMIN_TOKEN, '/api/admin/token-choices');
	assert.deepEqual(choices.choices.projects, JSON.parse(await sql('SELECT json_agg(id) FROM (SELECT id FROM unleash_tokens.project ORDER BY id LIMIT 1000) AS p')));
	assert.ok(choices.choices.environments.some((environment) => environment.name === 'development'));
	assert.deepEqual([choices.manages, choices.writable, choices.maxLifetime], [null, true, null]);
});

await test('a token that is bound to projects hears nothing of others', async () => {
	for (const at of ['token-events', 'doctor'])
		assertRefusal(await ask({}, bound, `/api/admin/${at}`), 403, 'PermissionError');
	const { json } = await ask({}, bound, '/api/admin/token-choices');
	assert.deepEqual([json.manages, json.choices.projects], [projects.slice(0, 2), []]);
});

await test('none of it is for others, nor for other methods', async () => {
	const { json: client } = await create();
	for (const at of ['tokens', 'token-events', 'token-choices', 'doctor']) {
		assertRefusal(await send('GET', `/api/admin/${at}`), 401, 'AuthenticationRequired', { key: 'missing' });
		assertRefusal(await ask({}, client.secret, `/api/admin/${at}`), 403, 'PermissionError');
		assertStatus(await send('POST', `/api/admin/${at}`, keyed()), 405);
		assertStatus(await send('HEAD', `/api/admin/${at}`, keyed()), 200);
	}
});

await test('a page ends after a window of tokens that are not wanted, and the next ones have the rest', async () => {
	await sql(`SELECT count(*) FROM jsonb_array_elements(unleash_tokens.create_api_tokens((SELECT jsonb_agg(jsonb_build_object(
		'type', 'client', 'tokenName', '${run} many ' || i, 'project', '${projects[0]}')) FROM generate_series(1, 12000) AS i)))`);
	const all = await readAll();
	for (const [criteria, key, own] of [[{ name: `${run} alpha`, sort: '-created' }, env.ADMIN_TOKEN, null], [{ name: `${run} shown`, sort: 'created' }, env.ADMIN_TOKEN, null],
		[{ project: projects[0], name: `${run} beta`, sort: '-created' }, env.ADMIN_TOKEN, null], [{ name: `${run} alpha`, sort: '-created' }, bound, projects.slice(0, 2)]]) {
		const { found, sort, now, pages } = await goThrough(criteria, key);
		assert.deepEqual(found, expected(all, criteria, own, sort, now));
		assert.ok(pages > 2, `${pages} pages`);
	}
});

await sql(`DELETE FROM unleash_tokens.project WHERE id = ANY ('{${projects}}'); DELETE FROM unleash_tokens.api_token WHERE token_name ILIKE '%${run}%'`);
finish();
