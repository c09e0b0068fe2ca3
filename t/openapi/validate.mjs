// Every answer that doc/openapi.json documents, asked for at least once and held against it.
//
//     node t/openapi/validate.mjs .serve/env

import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { METHODS, checkAnswer, coverage, document, documented, follow, schemaErrors } from './check.mjs';
import { finish, freePort, readEnv, send, start, test } from './lib.mjs';

const env = readEnv(process.argv[2]);
const root = new URL('../../', import.meta.url);
const TOKENS = '/api/admin/api-tokens';
const admin = { Authorization: env.ADMIN_TOKEN };
const json = { 'Content-Type': 'application/json' };
const name = `openapi ${Date.now().toString(36)}`;

// Sends a request, holds the answer against the document, and wants the status.
async function ask(status, method, target, headers, body, base = env.BASE_URL) {
	const answer = await send(base, method, target, headers, body);
	checkAnswer(method, target, answer.status, answer.headers, answer.body);
	assert.equal(answer.status, status, `${method} ${target}: ${answer.status} ${answer.body}`);
	return answer;
}

const create = async (body) =>
	JSON.parse((await ask(201, 'POST', TOKENS, { ...admin, ...json }, JSON.stringify({ tokenName: name, ...body }))).body);

// ---- The document itself ----------------------------------------------------------------------------------------------

// Every schema below a thing of the document, with the way there.
function* schemasIn(thing, way, done = new Set()) {
	if (typeof thing !== 'object' || thing === null || done.has(thing)) return;
	done.add(thing);
	yield [thing, way];
	if (thing.$ref) yield* schemasIn(follow(thing), thing.$ref, done);
	for (const [key, value] of Object.entries(thing)) {
		if (!['example', 'examples', 'enum', 'const', 'required'].includes(key)) yield* schemasIn(value, `${way}/${key}`, done);
	}
}

function* operations() {
	for (const [template, item] of Object.entries(document.paths)) {
		for (const method of METHODS) if (item[method]) yield { template, method, operation: item[method], name: `${method.toUpperCase()} ${template}` };
	}
}

const contents = (part) => Object.values(part?.content ?? {});

async function testDocument() {
	await test('the document is valid OpenAPI 3.1', async () => {
		const validator = new Validator();
		const result = await validator.validate(structuredClone(document));
		assert.equal(result.valid, true, JSON.stringify(result.errors, null, 1));
		assert.equal(validator.version, '3.1');
	});
	await test('it names the endpoints of src/http/endpoint.c and itself', () => {
		const source = readFileSync(new URL('src/http/endpoint.c', root), 'utf8');
		const prefix = Object.fromEntries([...source.matchAll(/#define (\w*TOKENS) "(.*)"/g)].map((match) => match.slice(1)));
		const routes = [...source.matchAll(/^\t\{"([A-Z]+)", (?:(\w*TOKENS) ?)?(?:"([^"]*)")?,/gm)]
			.map(([, method, tokens, rest]) => `${method} ${prefix[tokens] ?? ''}${rest ?? ''}`);
		assert.ok(routes.length > 5, 'no routes found');
		// a path that takes any method, and one below which nothing is
		for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) routes.push(`${method} /auth`);
		assert.match(source, /\{"\*", "\/auth", /);
		const named = [...operations()].filter(({ method }) => !['head', 'options'].includes(method)).map((o) => o.name);
		assert.deepEqual(named.sort(), [...routes, 'GET /docs/openapi.json'].sort());
	});
	await test('the version is that of the extension', () => {
		const control = readFileSync(new URL('unleash_tokens.control', root), 'utf8');
		assert.equal(document.info.version, control.match(/^default_version = '(.*)'$/m)[1]);
	});
	await test('HEAD is documented exactly where GET is', () => {
		for (const [template, item] of Object.entries(document.paths)) assert.equal('head' in item, 'get' in item, template);
	});
	await test('no operation has a default response', () => {
		for (const { name, operation } of operations()) assert.ok(!('default' in operation.responses), name);
	});
	await test('operationIds are there and used once', () => {
		const ids = [...operations()].map(({ operation }) => operation.operationId);
		assert.equal(new Set(ids).size, ids.length);
		assert.ok(ids.every(Boolean));
	});
	await test('answers have no property that is not named', () => {
		for (const { name, operation } of operations()) {
			for (const [status, response] of Object.entries(operation.responses)) {
				for (const { schema } of contents(follow(response))) {
					for (const [part, way] of schemasIn(schema, `${name} ${status}`)) {
						if ([part.type].flat().includes('object')) assert.equal(part.additionalProperties, false, way);
					}
				}
			}
		}
	});
	await test('the examples are valid', () => {
		let count = 0;
		const check = (where, { schema, examples }) => {
			for (const [key, { value }] of Object.entries(examples ?? {})) {
				assert.deepEqual(schemaErrors(schema, value), [], `${where}: ${key}`);
				count++;
			}
		};
		for (const { name, operation } of operations()) {
			contents(operation.requestBody).forEach((media) => check(name, media));
			for (const [status, response] of Object.entries(operation.responses)) {
				contents(follow(response)).forEach((media) => check(`${name} ${status}`, media));
				for (const [header, spec] of Object.entries(follow(response).headers ?? {})) {
					const { schema, example } = follow(spec);
					if (example !== undefined) assert.deepEqual(schemaErrors(schema, example), [], `${name} ${status} ${header}`);
				}
			}
		}
		assert.ok(count > 20);
	});
	await test('no secret of the examples is one', async () => {
		const secrets = [...new Set(JSON.stringify(document).match(/[^"]*\.v2_\w{22}_\w{43}/g))];
		assert.ok(secrets.length > 0);
		const { body } = await ask(200, 'POST', '/edge/validate', json, JSON.stringify({ tokens: secrets }));
		assert.deepEqual(JSON.parse(body), { tokens: [] });
	});
}

// ---- doc/differences.md -------------------------------------------------------------------------------------------------

async function testDifferences() {
	await test('each difference of doc/differences.md is pinned by files that are there, and cases that were recorded', () => {
		const page = readFileSync(new URL('doc/differences.md', root), 'utf8');
		const rows = [...page.matchAll(/^### ([a-z-]+)\n\n- Unleash: [^]+?\n- here: [^]+?\n- why: [^]+?\n- test: ((?:.+\n)+)/gm)];
		assert.ok(rows.length > 30);
		assert.equal(rows.length, [...page.matchAll(/^### /gm)].length, 'a difference has another form');
		assert.deepEqual(page.split('\n').filter((line) => line.length > 120), [], 'a line is too long for a terminal');
		const read = (file) => readFileSync(new URL(file, root), 'utf8');
		const recorded = new Set(['cases', 'project-cases'].flatMap((name) => read(`t/golden/${name}.jsonl`).trim().split('\n').map((line) => JSON.parse(line).id)));
		for (const [, key, tests] of rows) {
			const files = [...tests.matchAll(/`([^`]+)`/g)].map(([, file]) => file);
			assert.ok(files.length > 0, `${key} has no test`);
			for (const file of files) assert.ok(existsSync(new URL(file, root)), `${key}: there is no ${file}`);
			for (const [id] of tests.matchAll(/\bA-[a-z]+-\d+/g)) assert.ok(recorded.has(id), `${key}: there is no case ${id}`);
		}
	});
	await test('each case that t/golden/differences.json excuses is within one of them, if it demands another answer', () => {
		const page = readFileSync(new URL('doc/differences.md', root), 'utf8');
		const excused = Object.entries(JSON.parse(readFileSync(new URL('t/golden/differences.json', root), 'utf8')));
		const groups = new Set([...page.matchAll(/\bA-[a-z]+-\d+/g)].map(([id]) => id));
		const reasons = new Map();
		for (const [id, { why, skip }] of excused) if (!skip) reasons.set(why, [...(reasons.get(why) ?? []), id]);
		const unnamed = [...reasons].filter(([, ids]) => !ids.some((id) => groups.has(id))).map(([why]) => why);
		assert.deepEqual(unnamed.filter((why) => !LOOSE.has(why)), []);
	});
}
// Reasons there that allow more answers than Unleash's without asking for another one.
const LOOSE = new Set(['a byte order mark may be refused', 'nesting may be limited', 'OPTIONS may be open', 'refused by the HTTP server',
	'unknown paths may be 404 for everyone', 'conditional answers are optional', 'header limits', 'NUL in the path', 'the body of DELETE is not used',
	'no page is served there', 'not a path of the API', 'the first deletion is not among the cases, so this is it']);

// ---- What checkAnswer refuses -----------------------------------------------------------------------------------------

async function testChecker() {
	const good = { 'Content-Type': 'application/json; charset=utf-8', 'Cache-Control': 'no-store' };
	const health = '{"health":"GOOD"}';
	const refused = [
		['a status that is not documented', 'GET', '/health', 418, good, health, /418, which is not in/],
		['a property that is not documented', 'GET', '/health', 200, good, '{"health":"GOOD","more":1}', /additional properties/],
		['another value', 'GET', '/health', 200, good, '{"health":"BAD"}', /must be equal to constant/],
		['no JSON', 'GET', '/health', 200, good, 'GOOD', /not JSON/],
		['another content type', 'GET', '/health', 200, { ...good, 'Content-Type': 'text/html' }, health, /content type "text\/html"/],
		['another charset', 'GET', '/health', 200, { ...good, 'Content-Type': 'application/json; charset=latin1' }, health, /charset=latin1/],
		['a header that is missing', 'GET', '/health', 200, { 'Content-Type': 'application/json' }, health, /cache-control is missing/],
		['a header twice', 'GET', '/health', 200, { ...good, 'Cache-Control': ['no-store', 'no-store'] }, health, /2 times/],
		['a header with another value', 'GET', '/health', 200, { ...good, 'Cache-Control': 'public' }, health, /header cache-control, "public"/],
		['a header that is not documented', 'GET', '/health', 200, { ...good, 'X-Powered-By': 'x' }, health, /x-powered-by is not in/],
		['a body on HEAD', 'HEAD', '/health', 200, good, health, /there is a body/],
		['a body where there is none', 'DELETE', `${TOKENS}/x`, 200, good, 'x', /there is a body/],
		['a refusal of another name', 'GET', TOKENS, 403, good,
			'{"id":"2b2d7614-ae91-4132-94f7-f9ebf8980c07","name":"NotFoundError","message":"x","details":[{"message":"x"}]}', /allowed values/],
		['an answer at a path elsewhere', 'GET', '/other', 200, good, health, /a path elsewhere answered 200/],
	];
	for (const [what, method, target, status, headers, body, says] of refused)
		await test(`the checker refuses ${what}`, () => assert.throws(() => checkAnswer(method, target, status, headers, body), says));
}

// ---- Every status of every operation ----------------------------------------------------------------------------------

const targetOf = (template) => template.replace('{project}', 'default').replace('{token}', 'no-such-token');

// Rotations want a token in the right state, a new one each time.
async function rotating(template, state) {
	const { secret } = await create({ type: 'client' });
	const selector = secret.split('_').at(-2);
	if (state === 'none') return template.replace('{token}', selector);
	const { body } = await ask(200, 'POST', `${TOKENS}/${selector}/rotate`, admin);
	if (state === 'used') await ask(204, 'GET', '/auth', { Authorization: JSON.parse(body).secret });
	return template.replace('{token}', selector);
}
const FITS = { rotate: 'none', finish: 'used', cancel: 'pending' };
const UNFIT = { rotate: 'used', finish: 'pending', cancel: 'used' };
const isRotation = ({ template, method }) => method === 'post' && /\{token\}\/rotate/.test(template);
const BODIES = { createApiToken: { type: 'client', tokenName: name }, createProjectApiToken: { type: 'client', tokenName: name }, updateApiToken: { expiresAt: null }, getValidTokens: { tokens: [] }, rotateApiToken: {} };

// A request of the operation that would be answered well, with the changes that provoke a status.
function request({ template, method, operation }, changes = {}) {
	const body = operation.requestBody ? JSON.stringify(BODIES[operation.operationId]) : undefined;
	const open = operation.security.length === 0;
	const headers = { ...(open ? {} : admin), ...(body ? json : {}), ...changes.headers };
	for (const key of changes.without ?? []) delete headers[key];
	return [method.toUpperCase(), changes.target ?? targetOf(template), headers, changes.body ?? body];
}

// What provokes a status in whatever operation has it.
const provoke = {
	// unlike the other paths, this one wants a token that is there
	200: async (one) => (one.operation.operationId === 'deleteProjectApiToken' ?
		{ target: `/api/admin/projects/default/api-tokens/${(await create({ type: 'client', projects: ['default'] })).secret}` } :
		isRotation(one) ? { rotation: FITS } : {}),
	404: ({ template }) => ({ target: targetOf(template.replace('{project}', 'no%20such%20project')) }),
	409: () => ({ rotation: UNFIT }),
	400: () => ({ headers: { 'X-Long': 'x'.repeat(40000) } }),
	401: () => ({ without: ['Authorization'] }),
	403: ({ template }, client) => (template === '/auth' ? { target: '/auth?type=frontend' } : { headers: { Authorization: client } }),
	412: () => ({ headers: { 'If-Match': '"another"' } }),
	429: (_, client, often) => ({ headers: { Authorization: often } }),
	413: ({ template }) => ({ body: 'x'.repeat(template === '/edge/validate' ? 1048577 : 102401) }),
	415: () => ({ headers: { 'Content-Type': 'text/plain' } }),
	304: () => ({ headers: { 'If-None-Match': '*' } }),
};

async function prepare(one, changes = {}) {
	const states = changes.rotation;
	return states && isRotation(one) ? { ...changes, target: await rotating(one.template, states[one.template.split('/').at(-1)]) } : changes;
}

async function testStatuses(withoutDatabase) {
	const { secret: client } = await create({ type: 'client', expiresAt: '2999-01-01T00:00:00Z', rateLimit: { limit: 1000000, period: 1 }, allowedIps: ['127.0.0.0/8'] });
	const { secret: often } = await create({ type: 'admin', rateLimit: { limit: 1, period: 86400 } });
	await ask(204, 'GET', '/auth', { Authorization: often });
	for (const one of operations()) {
		for (const status of Object.keys(one.operation.responses).map(Number)) {
			await test(`${one.name} answers ${status}`, async () => {
				const base = status === 503 ? withoutDatabase : env.BASE_URL;
				await ask(status, ...request(one, await prepare(one, await provoke[status]?.(one, client, often))), base);
			});
		}
		await test(`${one.name} answers nothing that is not documented`, async () => {
			for (const changes of Object.values(provoke)) {
				const [method, target, headers, body] = request(one, await prepare(one, await changes(one, client, often)));
				const answer = await send(env.BASE_URL, method, target, headers, body);
				checkAnswer(method, target, answer.status, answer.headers, answer.body);
			}
		});
	}
	for (const template of Object.keys(document.paths)) {
		// gateways may ask /auth with any method; TRACE nginx refuses by itself
		for (const method of template === '/auth' ? ['TRACE'] : ['PATCH', 'TRACE', 'PROPFIND']) {
			await test(`${method} ${template} is refused`, async () => {
				await ask(405, method, targetOf(template), admin);
			});
		}
	}
}

async function testValues() {
	await test('tokens of each type and scope, made, listed, found, changed, validated and deleted', async () => {
		const bodies = [{ type: 'CLIENT' }, { type: 'backend', projects: ['default'] }, { type: 'frontend', environment: 'production', project: 'default' },
			{ type: 'admin' }, { type: 'client', expiresAt: '2031-05-06 07:08:09.123456+0200' }, { type: 'client', expiresAt: '0000-01-01T00:00:00Z' },
			{ type: 'client', tokenName: `${name} ü, % "quoted" \u2028` }];
		const made = [];
		for (const body of bodies) made.push(await create(body));
		await ask(200, 'GET', TOKENS, admin);
		const { body } = await ask(200, 'GET', `${TOKENS}/${encodeURIComponent(name)}`, admin);
		assert.ok(JSON.parse(body).tokens.length >= made.length - 1);
		const secrets = made.map(({ secret }) => secret);
		const valid = await ask(200, 'POST', '/edge/validate', json, JSON.stringify({ tokens: [...secrets, 'none', 5, null, true] }));
		assert.equal(JSON.parse(valid.body).tokens.length, made.length - 1);
		for (const { secret, type } of made) await ask(secret === secrets[5] ? 401 : 204, 'GET', `/auth?type=${type}`, { Authorization: `Bearer ${secret}` });
		for (const { secret } of made) {
			await ask(200, 'PUT', `${TOKENS}/${encodeURIComponent(secret)}`, { ...admin, ...json }, '{"expiresAt":"2031-01-01T00:00:00Z"}');
			await ask(200, 'DELETE', `${TOKENS}/${secret.split('_').at(-2)}`, admin);
		}
		for (const secret of secrets) await ask(401, 'GET', '/auth', { Authorization: secret });
	});
	const bad = [
		['POST', TOKENS, '{'], ['POST', TOKENS, '[]'], ['POST', TOKENS, '{"type":"robot","tokenName":"x"}'], ['POST', TOKENS, '{"type":"client","tokenName":5}'],
		['POST', TOKENS, '{"type":"client","tokenName":"x","projects":["no such project"]}'], ['POST', TOKENS, '{"type":"client","tokenName":"x","projects":[5]}'],
		['PUT', `${TOKENS}/x`, '{}'], ['POST', TOKENS, '{"type":"client","tokenName":"x","rateLimit":{"limit":0,"period":1}}'],
		['POST', TOKENS, '{"type":"client","tokenName":"x","allowedIps":["10.0.0.1/8"]}'], ['PUT', `${TOKENS}/x`, '{"expiresAt":"tomorrow"}'],
		['POST', '/edge/validate', '{"tokens":[[]]}'], ['POST', '/edge/validate', '{"tokens":"x"}'],
		['GET', '/auth?type=robot'], ['GET', `${TOKENS}/%zz`], ['GET', `${TOKENS}/%ff`], ['DELETE', `${TOKENS}/%00`]];
	await test(`${bad.length} bad requests are refused in the documented form`, async () => {
		for (const [method, target, body] of bad) await ask(400, method, target, { ...admin, ...(body ? json : {}) }, body);
	});
	await test('so are paths that are not in the document', async () => {
		await ask(401, 'GET', '/api/admin/projects', {});
		await ask(404, 'GET', '/api/admin/projects', admin);
		await ask(404, 'POST', `${TOKENS}/a/b`, { ...admin, ...json }, '{}');
	});
}

// nginx with the configuration of the running one, but with nothing behind it.
async function startWithoutDatabase() {
	const dir = mkdtempSync(path.join(os.tmpdir(), 'unleash_openapi.'));
	try {
		chmodSync(dir, 0o755);
		for (const part of ['log', 'tmp']) mkdirSync(path.join(dir, part));
		const port = await freePort();
		for (const file of readdirSync(env.PGHOST).filter((name) => /^(nginx|place).*\.conf$/.test(name))) {
			const text = readFileSync(path.join(env.PGHOST, file), 'utf8');
			writeFileSync(path.join(dir, file), file.startsWith('place') ? text.replaceAll(env.PGHOST, dir).replace(/127\.0\.0\.1:\d+;/, `127.0.0.1:${port};`) : text);
		}
		copyFileSync(new URL('doc/openapi.json', root), path.join(dir, 'openapi.json'));
		const base = `http://127.0.0.1:${port}`;
		const stop = await start('nginx', ['-e', 'stderr', '-p', dir, '-c', path.join(dir, 'nginx.conf'), '-g', 'daemon off;'],
			async () => (await send(base, 'GET', '/docs/openapi.json')).status === 200);
		return { base, stop: async () => { await stop(); rmSync(dir, { recursive: true }); } };
	} catch (error) {
		rmSync(dir, { recursive: true, force: true });
		throw error;
	}
}

process.env.PATH += ':/usr/local/sbin:/usr/sbin:/sbin';	// where nginx is
const without = await startWithoutDatabase();
try {
	await testDocument();
	await testDifferences();
	await testChecker();
	await testStatuses(without.base);
	await testValues();
	await test('the document is served as it is in doc/', async () => {
		const { body } = await ask(200, 'GET', '/docs/openapi.json');
		assert.deepEqual(JSON.parse(body), document);
	});
	await test('every documented status was answered at least once', () => {
		const seen = coverage();
		assert.deepEqual(documented().filter((status) => !seen.has(status)), []);
	});
} finally {
	await without.stop();
	const { body } = await send(env.BASE_URL, 'GET', TOKENS, admin);
	for (const token of JSON.parse(body).tokens ?? []) {
		if (token.tokenName.startsWith(name)) await send(env.BASE_URL, 'DELETE', `${TOKENS}/${token.secret}`, admin);
	}
}
finish();
