#!/usr/bin/env node
// Admin tokens that are bound to projects: random requests of many such tokens against a model that is written here anew.
//
// What a bound token may be answered is predicted from its view alone: its projects, and the tokens whose projects are all
// among them.  Whatever else there is cannot change a prediction, so an answer that depends on it differs from one.  A request
// that names a token or a project of others is sent twice, the second time with one that is not there: both answers are equal.
//
// REQUESTS (default 4000) and SEED choose the sequence.

import {
	TOKENS, assert, assertCreated, assertRefusal, create, env, finish, minimal, run, seeded, send, setSystem, sql, test, useEnv,
} from './lib.mjs';

useEnv();
const REQUESTS = Number(process.env.REQUESTS ?? 4000);
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9));
const ENVIRONMENTS = ['development', 'production'];
const NAMES = ['a', 'b', 'c', 'd', 'e'].map((letter) => `${run} ${letter}`);

// ---- Chance ---------------------------------------------------------------------------------------------------------

const chance = seeded(SEED);
const below = (n) => Math.floor(chance() * n);
const one = (list) => list[below(list.length)];
const often = (share) => chance() < share;
const some = (list, most) => [...new Set(Array.from({ length: 1 + below(most) }, () => one(list)))];
const letters = (n, of = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-') => Array.from({ length: n }, () => one([...of])).join('');

// ---- The model ------------------------------------------------------------------------------------------------------

// A project is null once it is gone; its name stays, to come back or to be asked for.
const world = { tokens: new Map(), projects: new Set(), gone: new Set(), made: 0, events: [] };
const root = { selector: env.ADMIN_TOKEN.match(/\.v2_(.{22})_/)?.[1], secret: env.ADMIN_TOKEN, projects: '*', root: true };

const isExpired = (token) => token.expiresAt !== null && Date.parse(token.expiresAt) <= Date.now();
const covers = (own, projects) => own === '*' || (projects !== '*' && projects.every((project) => own.includes(project)));

// All that an answer to this token may depend on.
function viewOf(caller) {
	if (caller.root) return { own: '*', tokens: [...world.tokens.values()], exists: (project) => world.projects.has(project) };
	const own = [...caller.projects];
	return {
		own, exists: (project) => own.includes(project),
		tokens: [...world.tokens.values()].filter((token) => covers(own, token.projects)),
	};
}

const shown = (token, secret = token.selector) => ({
	secret, tokenName: token.name, type: token.type, environment: token.environment, expiresAt: token.expiresAt,
	projects: token.projects === '*' ? ['*'] : token.projects, project: token.projects === '*' ? '*' : token.projects.join(','),
});
const referred = (view, reference) => view.tokens.find((token) => token.selector === reference || token.secret === reference);
const refused = (status, name) => ({ status, name });
const bad = refused(400, 'BadDataError');

function predictCreate(view, body, projects) {
	if (!['client', 'backend', 'frontend', 'admin'].includes(body.type)) return bad;
	if (body.expiresAt === 'soon' || (body.project !== undefined && body.projects !== undefined)) return bad;
	const environment = body.environment ?? (body.type === 'admin' ? '*' : 'development');
	if ((body.type === 'admin') !== (environment === '*')) return bad;
	if (view.own !== '*' && !covers(view.own, projects)) return refused(403, 'PermissionError');
	if (environment !== '*' && !ENVIRONMENTS.includes(environment)) return bad;
	if (projects !== '*' && !projects.every(view.exists)) return bad;
	return { status: 201, make: { name: body.tokenName, type: body.type, environment, projects, expiresAt: body.expiresAt ?? null } };
}

const asked = ({ project, projects }) => {
	const list = projects ?? (project === undefined ? ['*'] : [project]);
	return list.includes('*') ? '*' : [...new Set(list)];
};

// What must be answered, and what becomes of the model.
const predictions = {
	list: (view) => ({ status: 200, list: view.tokens }),
	byName: (view, { item }) => ({ status: 200, list: view.tokens.filter((token) => token.name === item || token.selector === item) }),
	create: (view, { body }) => predictCreate(view, body, asked(body)),
	update(view, { item, body }) {
		if (body.expiresAt === 'soon' || !('expiresAt' in body)) return bad;
		return { status: 200, empty: true, change: referred(view, item), expiresAt: body.expiresAt };
	},
	remove: (view, { item }) => ({ status: 200, empty: true, gone: referred(view, item) }),
	// a new secret waits beside the old one, which stays the one that is used here
	rotate(view, { item }) {
		const token = referred(view, item);
		if (token === undefined) return refused(404, 'NotFoundError');
		return isExpired(token) ? refused(409, 'ConflictError') : { status: 200, rotated: token, pending: true };
	},
	cancel(view, { item }) {
		const token = referred(view, item);
		if (token === undefined) return refused(404, 'NotFoundError');
		return token.pending ? { status: 200, rotated: token, pending: false } : refused(409, 'ConflictError');
	},
	listOf(view, { project }) {
		if (!view.exists(project)) return refused(404, 'NotFoundError');
		return { status: 200, list: view.tokens.filter((token) => token.projects !== '*' && token.projects.includes(project)) };
	},
	createIn(view, { project, body }) {
		if (body.type === 'admin') return bad;
		const { projects, project: named, ...rest } = body;
		const wanted = predictCreate({ own: '*', exists: () => true }, rest, [project]);
		if (wanted.status !== 201 && !(rest.environment && rest.environment !== '*' && !ENVIRONMENTS.includes(rest.environment) && rest.expiresAt !== 'soon')) return wanted;
		return view.exists(project) ? wanted : refused(404, 'NotFoundError');
	},
	removeIn(view, { project, item }) {
		if (!view.exists(project)) return refused(404, 'NotFoundError');
		const token = referred(view, item);
		if (token === undefined) return refused(404, 'NotFoundError');
		if (token.projects === '*' || token.projects.length !== 1 || token.projects[0] !== project) return bad;
		return { status: 200, empty: true, gone: token };
	},
};

function apply(caller, wanted, answer) {
	if (wanted.make) {
		const [, , selector] = answer.json.secret.match(/\.(v2)_(.{22})_/);
		world.tokens.set(selector, { ...wanted.make, selector, secret: answer.json.secret, createdAt: answer.json.createdAt });
		world.events.push(`api-token-created ${selector} ${caller.selector}`);
	}
	if (wanted.change) {
		wanted.change.expiresAt = wanted.expiresAt;
		world.events.push(`api-token-updated ${wanted.change.selector} ${caller.selector}`);
	}
	if (wanted.rotated) {
		wanted.rotated.pending = wanted.pending;
		world.events.push(`api-token-${wanted.pending ? 'rotated' : 'rotation-cancelled'} ${wanted.rotated.selector} ${caller.selector}`);
	}
	if (wanted.gone) {
		world.tokens.delete(wanted.gone.selector);
		world.events.push(`api-token-deleted ${wanted.gone.selector} ${caller.selector}`);
	}
}

// ---- Requests -------------------------------------------------------------------------------------------------------

const PATHS = {
	list: ['GET', () => TOKENS], byName: ['GET', ({ item }) => `${TOKENS}/${encodeURIComponent(item)}`], create: ['POST', () => TOKENS],
	update: ['PUT', ({ item }) => `${TOKENS}/${encodeURIComponent(item)}`], remove: ['DELETE', ({ item }) => `${TOKENS}/${encodeURIComponent(item)}`],
	rotate: ['POST', ({ item }) => `${TOKENS}/${encodeURIComponent(item)}/rotate`], cancel: ['POST', ({ item }) => `${TOKENS}/${encodeURIComponent(item)}/rotate/cancel`],
	listOf: ['GET', ({ project }) => ofProject(project)], createIn: ['POST', ({ project }) => ofProject(project)],
	removeIn: ['DELETE', ({ project, item }) => `${ofProject(project)}/${encodeURIComponent(item)}`],
};
const ofProject = (project) => `/api/admin/projects/${encodeURIComponent(project)}/api-tokens`;

function perform(caller, request) {
	const [method, path] = PATHS[request.kind];
	const headers = { Authorization: caller.secret, ...(request.body && { 'Content-Type': 'application/json' }) };
	return send(method, path(request), headers, request.body && JSON.stringify(request.body));
}

const newProject = () => `${run}-${letters(6, 'abcdefghijklmnopqrstuvwxyz')}`;
const absent = () => ({ selector: letters(22), secret: `[]:development.v2_${letters(22)}_${letters(43)}` });

// A token of the caller's, one of others, one that was deleted or one that never was, by selector or secret.
function anItem(caller) {
	const tokens = [...world.tokens.values()];
	const wanted = chance();
	const mine = viewOf(caller).tokens;
	const token = wanted < 0.4 && mine.length > 0 ? one(mine) : wanted < 0.85 ? one(tokens) : wanted < 0.9 && !caller.root ? caller : absent();
	return often(0.7) ? token.selector : token.secret;
}
const aProject = (caller) => {
	const wanted = chance();
	if (wanted < 0.5 && Array.isArray(caller.projects)) return one(caller.projects);
	return wanted < 0.85 ? one([...world.projects]) : wanted < 0.95 && world.gone.size > 0 ? one([...world.gone]) : newProject();
};
const anExpiry = () => (often(0.6) ? null : often(0.2) ? 'soon' : often(0.1) ? '2001-01-01T00:00:00.000Z' : `203${below(9)}-01-01T00:00:00.000Z`);

function aBody(caller) {
	const body = { type: one(['client', 'backend', 'frontend', 'admin', 'admin', ...(often(0.05) ? ['root'] : [])]), tokenName: one(NAMES) };
	if (often(0.4)) body.environment = body.type === 'admin' && often(0.8) ? '*' : one([...ENVIRONMENTS, ...ENVIRONMENTS, '*', `${run}-nowhere`]);
	if (often(0.9)) body.projects = often(0.06) ? ['*'] : Array.from({ length: 1 + below(3) }, () => aProject(caller));
	if (often(body.projects ? 0.03 : 0.6)) body.project = often(0.1) ? '*' : aProject(caller);
	if (often(0.4)) body.expiresAt = anExpiry();
	return body;
}

// update may also send what would widen a token, if it counted.
function aRequest(caller) {
	const kind = one(['list', 'byName', 'byName', 'create', 'create', 'update', 'update', 'update', 'remove', 'remove', 'rotate', 'cancel', 'listOf', 'createIn', 'removeIn', 'removeIn']);
	const request = { kind };
	if (['byName', 'update', 'remove', 'removeIn', 'rotate', 'cancel'].includes(kind)) request.item = kind === 'byName' && often(0.5) ? one(NAMES) : kind === 'update' && often(0.15) ? caller.root ? absent().selector : one([caller.selector, caller.secret]) : anItem(caller);
	if (['listOf', 'createIn', 'removeIn'].includes(kind)) request.project = aProject(caller);
	if (kind === 'create' || kind === 'createIn') request.body = aBody(caller);
	if (kind === 'update') request.body = { expiresAt: anExpiry(), ...(often(0.5) && { projects: ['*'], project: '*', type: 'admin', environment: '*', all_projects: true }) };
	return request;
}

// The same request with something that is not there in the place of what belongs to others; null when it names nothing of others.
function twinOf(caller, request) {
	const view = viewOf(caller);
	const twin = { ...request }, renamed = new Map();
	const instead = (text, other) => (renamed.set(other, text), other);
	const token = request.item && [...world.tokens.values(), root].find(({ selector, secret }) => request.item === selector || request.item === secret);
	if (token && !view.tokens.includes(token)) {
		const { selector } = absent();
		twin.item = instead(request.item, request.item === token.selector ? selector : request.item.replace(token.selector, selector));
	}
	const isOthers = (project) => project !== '*' && world.projects.has(project) && !view.exists(project);
	if (request.project && isOthers(request.project)) twin.project = instead(request.project, newProject());
	const named = new Map();
	const stranger = (project) => {
		if (!isOthers(project)) return project;
		if (!named.has(project)) named.set(project, instead(project, newProject()));
		return named.get(project);
	};
	if (request.body?.projects && request.kind === 'create') twin.body = { ...twin.body, projects: request.body.projects.map(stranger) };
	if (request.body?.project && request.kind === 'create') twin.body = { ...twin.body, project: stranger(request.body.project) };
	return renamed.size > 0 ? { twin, renamed } : null;
}

// ---- Comparing ------------------------------------------------------------------------------------------------------

// What an answer tells, but for what is random in every one.
function told(answer, renamed = new Map()) {
	const headers = answer.rawHeaders.filter(([name]) => !/^(date|x-request-id)$/i.test(name)).map((pair) => pair.join(': '));
	let text = answer.text.replace(/"id":"[0-9a-f-]{36}"/, '"id":""');
	for (const [other, original] of renamed) text = text.replaceAll(other, original);
	return [answer.status, headers, text];
}

function checkAnswer(caller, request, wanted, answer) {
	const about = () => `${caller.root ? 'root' : JSON.stringify(caller.projects)} ${JSON.stringify(request)} was answered ${answer.status} ${answer.text.slice(0, 500)}`;
	assert.equal(answer.status, wanted.status, about());
	if (wanted.name) assert.equal(answer.json?.name, wanted.name, about());
	if (wanted.empty) assert.equal(answer.text, '', about());
	const fields = ({ secret, tokenName, type, environment, expiresAt, projects, project }) => ({ secret, tokenName, type, environment, expiresAt, projects, project });
	if (wanted.list) {
		// what other files of the suite made is the root's to see too
		const got = answer.json.tokens.filter((token) => !caller.root || world.tokens.has(token.secret)).map(fields);
		const order = (a, b) => (a.createdAt + a.selector < b.createdAt + b.selector ? -1 : 1);
		assert.deepEqual(got, [...wanted.list].sort(order).map((token) => shown(token)), about());
	}
	if (wanted.make) assert.deepEqual(fields(answer.json), shown(wanted.make, answer.json.secret), about());
	if (caller.root) return;
	const request_text = JSON.stringify(request), all = `${answer.head}\n${answer.text}`;
	const view = new Set(viewOf(caller).tokens);
	for (const token of world.tokens.values())
		if (!view.has(token) && all.includes(token.selector)) assert.ok(request_text.includes(token.selector), `told of ${token.selector}: ${about()}`);
	for (const project of world.projects)
		if (!caller.projects.includes(project) && all.includes(project)) assert.ok(request_text.includes(project), `told of ${project}: ${about()}`);
}

let lastEvent = await sql('SELECT coalesce(max(id), 0) FROM unleash_tokens.api_token_event');

// The tables hold what the model says, and there are the events it says, and no others.
async function checkTables(about) {
	const text = await sql(`SELECT json_build_object(
		'tokens', (SELECT coalesce(json_agg(json_build_array(selector, token_name, type, environment, projects, expires_at AT TIME ZONE 'UTC') ORDER BY selector), '[]')
			FROM unleash_tokens.api_tokens WHERE starts_with(token_name, '${run} ')),
		'events', (SELECT coalesce(json_agg(type || ' ' || selector || ' ' || coalesce(actor_selector, '-') ORDER BY id), '[]') FROM unleash_tokens.api_token_event WHERE id > ${lastEvent}),
		'last', (SELECT coalesce(max(id), 0) FROM unleash_tokens.api_token_event))`);
	const found = JSON.parse(text.replace(/\n/g, ''));
	const stored = found.tokens.map(([selector, name, type, environment, projects, expires]) => [selector, name, type, environment ?? '*', projects.join(), expires && new Date(`${expires}Z`).toISOString()]);
	const model = [...world.tokens.values()].map((token) => [token.selector, token.name, token.type, token.environment, shown(token).project, token.expiresAt])
		.sort(([a], [b]) => (a < b ? -1 : 1));
	assert.deepEqual(stored, model, about());
	assert.deepEqual(found.events.sort(), [...world.events].sort(), about());
	world.events = [];
	lastEvent = found.last;
}

// ---- What SQL does meanwhile ----------------------------------------------------------------------------------------

async function addProject(name = newProject()) {
	await sql(`INSERT INTO unleash_tokens.project (id) VALUES (:'name')`, { name });
	world.projects.add(name);
	world.gone.delete(name);
	return name;
}

// Tokens lose it, and go with the last one; nobody gets it back when there is one of that name again.
async function dropProject(name) {
	await sql(`DELETE FROM unleash_tokens.project WHERE id = :'name'`, { name });
	world.projects.delete(name);
	world.gone.add(name);
	for (const token of world.tokens.values()) {
		if (token.projects === '*' || !token.projects.includes(name)) continue;
		token.projects = token.projects.filter((project) => project !== name);
		if (token.projects.length > 0) continue;
		world.tokens.delete(token.selector);
		world.events.push(`api-token-deleted ${token.selector} -`);
	}
}

async function renameProject(name) {
	const renamed = newProject();
	await sql(`UPDATE unleash_tokens.project SET id = :'renamed' WHERE id = :'name'`, { name, renamed });
	world.projects.delete(name);
	world.projects.add(renamed);
	world.gone.add(name);
	for (const token of world.tokens.values())
		if (token.projects !== '*') token.projects = token.projects.map((project) => (project === name ? renamed : project));
}

async function change() {
	const wanted = chance();
	if (world.projects.size > 4 && wanted < 0.4) await dropProject(one([...world.projects]));
	else if (wanted < 0.6) await renameProject(one([...world.projects]));
	else if (world.gone.size > 0 && wanted < 0.9) await addProject(one([...world.gone]));
	else await addProject();
	while (world.gone.size > 8) world.gone.delete([...world.gone][0]);
	while (world.projects.size < 7) await addProject();
}

// By root, so that there is always somebody to ask, and something of others to ask for.
async function fill() {
	const admins = () => [...world.tokens.values()].filter((token) => token.type === 'admin' && token.projects !== '*' && !isExpired(token));
	while (world.tokens.size < 25 || admins().length < 6) {
		const body = { type: one(['admin', 'admin', 'client', 'frontend']), tokenName: one(NAMES), projects: often(0.1) ? ['*'] : some([...world.projects], 3) };
		const wanted = predictions.create(viewOf(root), { body });
		const answer = await perform(root, { kind: 'create', body });
		checkAnswer(root, { kind: 'create', body }, wanted, answer);
		apply(root, wanted, answer);
	}
	return admins();
}

const admitted = new Set();	// secrets of all admin tokens that ever asked

// Who is gone with its last project, or was deleted, is nobody, also when there is a project of that name again.
async function checkGone(admins) {
	for (const { secret } of admins) admitted.add(secret);
	const alive = new Set([...world.tokens.values()].map((token) => token.secret));
	const gone = [...admitted].filter((secret) => !alive.has(secret));
	if (gone.length > 0) assertRefusal(await send('GET', TOKENS, { Authorization: one(gone) }), 401, 'UnauthorizedError');
}

// ---- The run --------------------------------------------------------------------------------------------------------

const counts = { requests: 0, twins: 0, actors: new Set(), changes: 0, statuses: {} };

async function step() {
	if (often(0.03)) {
		await change();
		counts.changes++;
	}
	const admins = await fill();
	const caller = often(0.05) ? root : one(admins);
	if (often(0.02)) await checkGone(admins);
	const request = aRequest(caller);
	const wanted = predictions[request.kind](viewOf(caller), request);
	const twin = caller.root ? null : twinOf(caller, request);
	const answer = await perform(caller, request);
	checkAnswer(caller, request, wanted, answer);
	if (twin) {
		const other = await perform(caller, twin.twin);
		assert.deepEqual(told(other, twin.renamed), told(answer), `${JSON.stringify(caller.projects)} ${JSON.stringify(request)}: what is not there is answered otherwise`);
		counts.twins++;
	}
	apply(caller, wanted, answer);
	const key = `${request.kind} ${answer.status}`;
	counts.statuses[key] = (counts.statuses[key] ?? 0) + 1;
	counts.requests += twin ? 2 : 1;
	counts.actors.add(caller.selector);
	await checkTables(() => `after ${JSON.stringify(request)} of ${JSON.stringify(caller.projects)}`);
}

await test(`${REQUESTS} random requests: a bound admin token sees, makes, changes, rotates and deletes what is its own, and learns of nothing else (SEED=${SEED})`, async () => {
	while (world.projects.size < 7) await addProject();
	while (counts.requests < REQUESTS) await step();
	console.log(`figure: ${counts.requests} requests of ${counts.actors.size} admin tokens, ${counts.twins} of them once more with what is not there, ${counts.changes} changes of projects meanwhile`);
	if (process.env.SHOW) console.log(counts.statuses);
});

await test('the limit of tokens tells a bound admin no number', async () => {
	const id = `${run} limited`;
	await sql(`INSERT INTO unleash_tokens.project (id) VALUES (:'id')`, { id });
	const admin = await assertCreated(await create({ type: 'admin', tokenName: `${run} limited`, projects: [id] }));
	const reset = await setSystem('unleash_tokens.max_tokens', '1');
	try {
		const answer = await send('POST', TOKENS, { Authorization: admin.secret, 'Content-Type': 'application/json' }, JSON.stringify({ ...minimal(), projects: [id] }));
		assertRefusal(answer, 400, 'ExceedsLimitError');
		assert.doesNotMatch(answer.json.details[0].message, /\d/);
	} finally {
		await reset();
	}
});

finish();
