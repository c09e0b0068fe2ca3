#!/usr/bin/env node
// The programs of examples/clients as they stand, and what doc/programs.md shows of them; then no log has a secret.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { assert, create, env, finish, logFile, minimal, poll, root, run, skip, sql, test, useEnv } from '../http/lib.mjs';

useEnv();
const clients = process.env.PROGRAMS_DIR;
const psql = (args, more = {}) => spawnSync('psql', ['-XAt', ...args], { encoding: 'utf8', ...more, env: { ...process.env, PGHOST: env.PGHOST, PGPORT: env.PGPORT, PGDATABASE: env.PGDATABASE, ...more.env } });
const secrets = [];
const make = async (more) => {
	const { secret } = (await create(minimal({ tokenName: `${run} programs`, ...more }))).json;
	secrets.push(secret);
	return secret;
};
const unknown = `*:*.v2_${'A'.repeat(22)}_${run.padEnd(43, 'z')}`;
secrets.push(unknown);

await test('the logins can be made, and doctor() has nothing against them', async () => {
	execFileSync('psql', ['-Xq', '-v', 'ON_ERROR_STOP=1', '-f', path.join(root, 'examples/clients/roles.sql')], { env: { ...process.env, PGHOST: env.PGHOST, PGPORT: env.PGPORT, PGDATABASE: env.PGDATABASE, PGUSER: env.PGUSER } });
	await sql('SELECT pg_reload_conf()');
	await poll('they can log in', 10000, () => psql(['-U', 'shop', '-c', 'SELECT 1']).stdout === '1\n' && psql(['-U', 'shop_literal', '-c', 'SELECT 1']).stdout === '1\n');
	assert.equal(await sql(`SELECT string_agg(detail, ' ') FROM unleash_tokens.doctor() WHERE detail ~ 'shop'`), '');
});

await test('they may check, and nothing else', async () => {
	for (const role of ['shop', 'shop_literal'])
		for (const statement of ['SELECT count(*) FROM unleash_tokens.api_tokens', 'SELECT count(*) FROM unleash_tokens.api_token', `SELECT unleash_tokens.create_project('x')`, `SELECT unleash_tokens.delete_api_token('x')`,
			'SELECT unleash_tokens.get_all_api_tokens()', 'SELECT unleash_tokens.metrics()', `SELECT unleash_tokens.rest_api()`, 'SELECT * FROM unleash_tokens.doctor()'])
			assert.match(psql(['-U', role, '-c', statement]).stderr, /permission denied/, statement);
	assert.equal(psql(['-U', 'shop', '-c', `SELECT count(*) FROM unleash_tokens.validate_api_tokens('{}')`]).stdout, '0\n');
});

// A program reads the secret from standard input, or from the variable TOKEN.
async function tryProgram(role, command, args, { byName = false } = {}) {
	const call = (secret) => spawnSync(command, args, { input: byName ? '' : secret, encoding: 'utf8', cwd: clients,
		env: { ...process.env, PGHOST: env.PGHOST, PGPORT: env.PGPORT, PGDATABASE: env.PGDATABASE, PGUSER: role, ...(byName ? { TOKEN: secret } : {}) } });
	const good = call(await make());
	assert.deepEqual([good.status, JSON.parse(good.stdout || 'null')?.tokenName], [0, `${run} programs`], good.stderr);
	for (const secret of [unknown, 'nothing', '']) {
		const bad = call(secret);
		assert.deepEqual([bad.status, bad.stdout], byName ? [0, '\n'] : [1, 'refused\n'], bad.stderr);
	}
	return call;
}

const python = (module) => existsSync(`/usr/lib/python3/dist-packages/${module}/__init__.py`);
if (python('psycopg')) await test('Python with psycopg 3', () => tryProgram('shop', '/usr/bin/python3', ['check_psycopg3.py']));
else skip('Python with psycopg 3', 'python3-psycopg is not there');
if (python('psycopg2')) {
	await test('Python with psycopg 2', () => tryProgram('shop_literal', '/usr/bin/python3', ['check_psycopg2.py']));
	await test('... which sends no secret as a role whose texts are logged', async () => {
		const call = spawnSync('/usr/bin/python3', ['check_psycopg2.py'], { input: await make(), encoding: 'utf8', cwd: clients, env: { ...process.env, PGHOST: env.PGHOST, PGPORT: env.PGPORT, PGDATABASE: env.PGDATABASE, PGUSER: 'shop' } });
		assert.deepEqual([call.status, call.stdout], [1, '']);
		assert.match(call.stderr, /may be logged/);
	});
} else skip('Python with psycopg 2', 'python3-psycopg2 is not there');
await test('Node with pg', () => tryProgram('shop', process.execPath, ['check_node.mjs']));
await test('psql without \\bind', async () => {
	await tryProgram('shop_literal', 'psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', 'check.psql'], { byName: true });
	const call = psql(['-U', 'shop', '-q', '-f', path.join(clients, 'check.psql')], { env: { TOKEN: await make() } });
	assert.match(call.stderr, /may be logged/);
	assert.equal(call.stdout, '');
});
const [, major] = execFileSync('psql', ['--version'], { encoding: 'utf8' }).match(/(\d+)/);
if (Number(major) >= 16) await test('psql with \\bind, as the document has it', async () => {
	const lines = readFileSync(path.join(root, 'doc/programs.md'), 'utf8').match(/^ {4}\\getenv[^]*?\\g$/m)[0].replace(/^ {4}/gm, '');
	const call = psql(['-U', 'shop', '-q'], { input: lines, env: { TOKEN: await make() } });
	assert.equal(JSON.parse(call.stdout).tokenName, `${run} programs`, call.stderr);
});
else skip('psql with \\bind', `psql is ${major}`);

await test('PostgREST with a JWT and postgrest-js', async () => {
	const args = [path.join(clients, 'admin_postgrest.mjs'), env.PGRST_SOCKET, path.join(path.dirname(env.PGRST_SOCKET), 'jwt-secret'), `${run} shop`];
	const told = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', cwd: clients }));
	assert.deepEqual([told.type, told.projects, told.environment], ['client', [`${run} shop`], 'development']);
	assert.equal(await sql(`SELECT count(*) FROM unleash_tokens.project WHERE id = :'id'`, { id: `${run} shop` }), '1');
	assert.deepEqual(JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', cwd: clients })).projects, [`${run} shop`]);
	assert.equal(await sql(`SELECT count(*) FROM unleash_tokens.api_tokens WHERE token_name = :'name'`, { name: `made for ${run} shop` }), '0');
	assert.throws(() => execFileSync(process.execPath, [...args.slice(0, 3), '*'], { encoding: 'utf8', cwd: clients, stdio: 'pipe' }), /cannot be called so/);
});

await test('the JWT of the shell, as the document has it', async () => {
	const block = readFileSync(path.join(root, 'doc/programs.md'), 'utf8').match(/```sh\n(part[^]*?)```/)[1]
		.replaceAll('/run/unleash_tokens/postgrest.sock', env.PGRST_SOCKET).replaceAll('/etc/unleash_tokens/jwt-secret', path.join(path.dirname(env.PGRST_SOCKET), 'jwt-secret')).replace('curl ', 'curl -sS ');
	const rows = JSON.parse(execFileSync('bash', ['-euc', block], { encoding: 'utf8' }));
	assert.deepEqual(Object.keys(rows[0]), ['token_name', 'expires_at']);
});

await test('what the document shows of a program stands in it', () => {
	const text = readFileSync(path.join(root, 'doc/programs.md'), 'utf8');
	let shown = 0;
	for (const [, name, line] of text.matchAll(/^\[(\w+\.(?:py|mjs))\]\([^]*?\n\n {4}(.*)$/gm)) {
		const file = path.join(root, 'examples/clients', name), own = line.trim();
		if (own.startsWith('examples/')) continue;
		assert.ok(readFileSync(file, 'utf8').includes(own), `${name}: ${own}`);
		shown++;
	}
	assert.equal(shown, 3);
});

await test('no secret is in the log, and one would have been seen there', async () => {
	const control = await make();
	psql(['-U', 'shop', '-c', `SELECT unleash_tokens.validate_api_token('${control}') IS NOT NULL`]);
	const log = () => readFileSync(logFile('postgresql'), 'utf8');
	await poll('a literal of a role whose texts are logged', 10000, () => log().includes(control));
	const text = log();
	assert.match(text, /validate_api_token\(\$1\)/, 'nothing of the programs was logged at all');
	for (const secret of secrets.filter((one) => one !== control)) assert.ok(!text.includes(secret.slice(-43)), 'a secret is in the log');
});

finish();
