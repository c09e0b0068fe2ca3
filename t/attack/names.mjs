#!/usr/bin/env node
// Names made to harm: control characters, bidi overrides, what looks alike or cannot be seen, line breaks, SQL, URLs, markup.
// Each is refused, or stored exactly as given and answered so that nobody is misled: in JSON, in headers, in paths.

import { SECRET, TOKENS, assert, assertCreated, assertRefusal, create, env, finish, jsonKeyed, keyed, minimal, send, test, useEnv } from '../http/lib.mjs';
import { checkAnswer } from '../openapi/check.mjs';
import { assertSaysNothing, assertServerSame, attackNames, connect, disconnect, escaped, fingerprinter, know, one, serverState } from './lib.mjs';

useEnv();
know(env.ADMIN_TOKEN, false);
const client = await connect();
const before = await serverState(client);
const fingerprint = await fingerprinter(client);
const forget = () => client.query(`DELETE FROM unleash_tokens.api_token WHERE token_name <> 'first'; DELETE FROM unleash_tokens.api_token_event`);
const counts = { stored: 0, refused: 0 };

// The rule of the documentation, said another way than in C.
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const isGood = (name, most) => [...name].length >= 1 && [...name].length <= most && !CONTROL.test(name);

const isOk = (answer, method, target, status) => {
	assert.equal(answer.status, status, answer.text.slice(0, 300));
	checkAnswer(method, target, answer.status, answer.rawHeaders, answer.text);
};

async function refuse(body, says) {
	const known = await fingerprint();
	const answer = await create(body);
	const { json } = answer;
	assertRefusal(answer, 400, 'BadDataError', says ? { says } : {});
	assert.doesNotMatch(answer.text, /[\u0000-\u001f]/, 'a control character is in a refusal as it stands');
	assert.ok(json.details[0].message.length < 600, 'a refusal is long');
	assertSaysNothing(answer.text, JSON.stringify(body) + body.tokenName);
	assert.equal(await fingerprint(), known, 'a refusal stored something');
	counts.refused++;
}

// Everywhere where a name is shown it is the same, and no header or line is more than one.
async function assertShown(made, name) {
	assert.equal(await one(client, 'SELECT token_name FROM unleash_tokens.api_token WHERE selector = $1', [made.selector]), name);
	assert.equal(await one(client, `SELECT data ->> 'tokenName' FROM unleash_tokens.api_token_event WHERE selector = $1`, [made.selector]), name);
	// a request line has 8 kB: a long name fits into it as it is
	const coded = `${TOKENS}/${escaped(name)}`, target = coded.length < 8000 ? coded : `${TOKENS}/${name}`, byName = await send('GET', target, keyed());
	isOk(byName, 'GET', target, 200);
	assert.ok(byName.json.tokens.some((token) => token.tokenName === name && token.secret === made.selector), `not found by its name: ${byName.text.slice(0, 200)}`);
	const auth = await send('GET', '/auth', { Authorization: made.secret });
	isOk(auth, 'GET', '/auth', 204);
	assertHeader(auth.header('X-Token-Name'), name, 768, '(too long)');
}

await test(`${attackNames.length} names as tokenName`, async () => {
	for (const name of attackNames) {
		const body = minimal({ tokenName: name });
		if (!isGood(name, 1000)) {
			await refuse(body, name.includes('\0') ? /valid UTF-8 without NUL/ : /tokenName/);
			continue;
		}
		const made = await assertCreated(await create(body), { tokenName: name }).catch((error) => assert.fail(`${JSON.stringify(name)}: ${error.message}`));
		know(made.secret);
		await assertShown(made, name).catch((error) => assert.fail(`${JSON.stringify(name)}: ${error.message}`));
		counts.stored++;
	}
	const list = await send('GET', TOKENS, keyed());
	isOk(list, 'GET', TOKENS, 200);
	const names = new Set(list.json.tokens.map((token) => token.tokenName));
	assert.ok(attackNames.filter((name) => isGood(name, 1000)).every((name) => names.has(name)), 'a name is not in the list');
	assertSaysNothing(list.text, attackNames.join('\n'));
	await forget();
});

for (const field of ['type', 'environment', 'project', 'projects', 'expiresAt'])
	await test(`${attackNames.length} names as ${field} that there is not`, async () => {
		for (const name of attackNames) {
			// "*" is no name, and for type any case is good; of these there are others
			if ((field.startsWith('project') && name === '*') || (field === 'type' && /^admin$/i.test(name))) continue;
			await refuse(minimal({ [field]: field === 'projects' ? ['default', name] : name })).catch((error) => assert.fail(`${JSON.stringify(name)}: ${error.message}`));
		}
	});

for (const [table, column, field] of [['project', 'id', 'project'], ['environment', 'name', 'environment']])
	await test(`${attackNames.length} names as ${field} that there is`, async () => {
		let entered = 0;
		for (const name of attackNames.filter((text) => !text.includes('\0'))) {
			const said = await client.query(`INSERT INTO unleash_tokens.${table} (${column}) VALUES ($1)`, [name]).catch((error) => error);
			const good = isGood(name, 100) && !['*', '[]'].includes(name);
			assert.equal(said.code, good ? undefined : '23514', `${JSON.stringify(name)}: ${said.message ?? 'entered'}`);
			if (!good) continue;
			entered++;
			try {
				const made = await assertCreated(await create(minimal({ [field]: name })), { [field]: name });
				know(made.secret);
				counts.stored++;
				assert.equal(made.secret.match(SECRET)[field === 'project' ? 1 : 2].endsWith(field === 'project' ? name : name.split(':').at(-1)), true);
				const validated = await send('POST', '/edge/validate', jsonKeyed(), JSON.stringify({ tokens: [made.secret] }));
				isOk(validated, 'POST', '/edge/validate', 200);
				assert.equal(validated.json.tokens.length, 1, 'the secret is not valid');
				assert.deepEqual(field === 'project' ? validated.json.tokens[0].projects : validated.json.tokens[0].environment, field === 'project' ? [name] : name);
				await assertAuth(made, field, name);
			} catch (error) {
				assert.fail(`${JSON.stringify(name)}: ${error.message}`);
			}
		}
		await forget();
		console.log(`figure: ${entered} of them can be entered as ${field}`);
	});

await test('a token of more projects than a header can name: /auth marks the list as too long, and covers each of them', async () => {
	await client.query(`INSERT INTO unleash_tokens.project (id) SELECT repeat(U&'\\00FC', 90) || i FROM generate_series(1, 20) i`);
	const all = (await client.query('SELECT id FROM unleash_tokens.project ORDER BY id')).rows.map(({ id }) => id);
	const lengthOf = (ids) => ids.map((id) => escaped(id).length).reduce((sum, length) => sum + length + 1, -1);
	assert.ok(lengthOf(all) > 8000, `only ${lengthOf(all)} bytes`);
	const made = await assertCreated(await create(minimal({ projects: all })), { projects: all });
	know(made.secret);
	const auth = await send('GET', '/auth', { Authorization: made.secret });
	isOk(auth, 'GET', '/auth', 204);
	assert.deepEqual(auth.headers('X-Token-Projects'), ['(too many)']);
	for (const id of all) isOk(await send('GET', `/auth?project=${escaped(id)}`, { Authorization: made.secret }), 'GET', '/auth', 204);
	assert.equal((await send('GET', '/auth?project=none', { Authorization: made.secret })).status, 400);
	const few = await assertCreated(await create(minimal({ projects: ['default', 'admin'] })));
	know(few.secret);
	assert.equal((await send('GET', '/auth', { Authorization: few.secret })).header('X-Token-Projects'), 'default,admin');
	await forget();
});

// In a header, blanks around a value belong to HTTP, and so does the word Bearer: of such a secret nothing is promised there.
async function assertAuth(made, field, name) {
	const auth = await send('GET', `/auth?${field}=${escaped(name)}`, { Authorization: made.secret });
	if (auth.status === 401 && (/^[ \t]|^bearer[ \t]/i.test(made.secret))) return;
	isOk(auth, 'GET', '/auth', 204);
	const header = auth.header(field === 'project' ? 'X-Token-Projects' : 'X-Token-Environment');
	assertHeader(header, name, field === 'project' ? 1536 : 512, field === 'project' ? '(too many)' : '(too long)');
}

// A value, or the mark of one that is too long.
function assertHeader(value, name, max, mark) {
	if (value === mark) return assert.ok(Buffer.byteLength(encodeURIComponent(name)) > max);
	assert.match(value, /^[\x21-\x7e]+$/);
	assert.equal(decodeURIComponent(value), name);
}

await test('the server went through it all', () => assertServerSame(client, before));
console.log(`figure: ${counts.stored} names stored and shown as given, ${counts.refused} refused`);
await forget();
await client.query(`DELETE FROM unleash_tokens.project WHERE id <> 'default'; DELETE FROM unleash_tokens.environment WHERE name NOT IN ('development', 'production')`);
await disconnect();
finish();
