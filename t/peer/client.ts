// A program written for Unleash: the same calls, typed by the server's own document, whatever server is behind the URL.

import createClient from 'openapi-fetch';
import type { paths } from './unleash.js';

export interface Step {
	step: string;
	status: number;
	headers: Record<string, string>;
	body: unknown;
}

type Answer = { data?: unknown; error?: unknown; response: Response };

const SHOWN = ['location', 'content-type', 'cache-control', 'www-authenticate', 'allow'];

export async function run(baseUrl: string, key: string, name: string): Promise<Step[]> {
	const api = createClient<paths>({ baseUrl, headers: { Authorization: key } });
	const anonymous = createClient<paths>({ baseUrl });
	const steps: Step[] = [];

	function note(step: string, { data, error, response }: Answer) {
		const headers: Record<string, string> = {};
		for (const header of SHOWN) {
			const value = response.headers.get(header);
			if (value !== null) headers[header] = value;
		}
		steps.push({ step, status: response.status, headers, body: data ?? error ?? null });
	}

	const list = '/api/admin/api-tokens';
	const byName = '/api/admin/api-tokens/{name}';
	const byToken = '/api/admin/api-tokens/{token}';

	// ---- create
	const shortest = await api.POST(list, { body: { type: 'frontend', tokenName: name } });
	note('create', shortest);
	const scoped = await api.POST(list, { body: {
		type: 'backend', tokenName: `${name} scoped`, environment: 'production', projects: ['beta', 'alpha'], expiresAt: '2031-05-06T07:08:09.123+02:00' } });
	note('create scoped', scoped);
	const client = await api.POST(list, { body: { type: 'Client', tokenName: `${name} ü/%`, environment: 'dot.env:x', projects: ['Weird Id:x.y'] } });
	note('create odd names', client);
	note('create one project', await api.POST(list, { body: { type: 'client', tokenName: `${name} one`, project: 'alpha' } }));
	note('create twice', await api.POST(list, { body: { type: 'client', tokenName: `${name} twice`, projects: ['alpha', 'alpha'] } }));
	note('create all among', await api.POST(list, { body: { type: 'client', tokenName: `${name} all`, projects: ['alpha', '*'] } }));
	note('create admin', await api.POST(list, { body: { type: 'admin', tokenName: `${name} admin` } }));
	note('create disabled environment', await api.POST(list, { body: { type: 'client', tokenName: `${name} off`, environment: 'disabled-env' } }));

	// ---- refused
	note('unknown type', await api.POST(list, { body: { type: 'robot', tokenName: name } }));
	note('empty name', await api.POST(list, { body: { type: 'client', tokenName: '' } }));
	note('unknown environment', await api.POST(list, { body: { type: 'client', tokenName: name, environment: 'nowhere' } }));
	note('all environments', await api.POST(list, { body: { type: 'client', tokenName: name, environment: '*' } }));
	note('unknown project', await api.POST(list, { body: { type: 'client', tokenName: name, projects: ['nope'] } }));
	note('no projects', await api.POST(list, { body: { type: 'client', tokenName: name, projects: [] } }));
	note('bad expiry', await api.POST(list, { body: { type: 'client', tokenName: name, expiresAt: 'tomorrow' } }));
	note('no key', await anonymous.GET(list));
	note('bad key', await anonymous.GET(list, { headers: { Authorization: '*:*.no-such-key' } }));
	note('bearer', await anonymous.GET(byName, { params: { path: { name } }, headers: { Authorization: `Bearer ${key}` } }));
	note('key of another type', await anonymous.GET(list, { headers: { Authorization: scoped.data?.secret ?? '' } }));

	// ---- list, by name
	const all = await api.GET(list);
	const own = (all.data?.tokens ?? []).filter(({ tokenName }) => tokenName.startsWith(name))
		.sort((a, b) => (a.tokenName < b.tokenName ? -1 : 1));
	note('list', { ...all, data: { tokens: own } });
	note('by name', await api.GET(byName, { params: { path: { name: `${name} ü/%` } } }));
	note('by unknown name', await api.GET(byName, { params: { path: { name: `${name} none` } } }));

	// ---- update
	const token = scoped.data?.secret ?? '';
	const show = async (step: string) => note(step, await api.GET(byName, { params: { path: { name: `${name} scoped` } } }));
	note('update', await api.PUT(byToken, { params: { path: { token } }, body: { expiresAt: '2032-01-01T00:00:00Z' } }));
	await show('after update');
	note('update to a bad expiry', await api.PUT(byToken, { params: { path: { token } }, body: { expiresAt: 'tomorrow' } }));
	note('update unknown', await api.PUT(byToken, { params: { path: { token: `${token}x` } }, body: { expiresAt: '2033-01-01T00:00:00Z' } }));
	await show('after refused updates');

	// ---- validate, as Edge does
	const secrets = [shortest.data?.secret, scoped.data?.secret, client.data?.secret].map((secret) => secret ?? '');
	note('validate', await anonymous.POST('/edge/validate', { body: { tokens: [...secrets, 'none'] } }));

	// ---- delete
	note('delete', await api.DELETE(byToken, { params: { path: { token } } }));
	await show('after delete');
	note('delete again', await api.DELETE(byToken, { params: { path: { token } } }));
	note('validate deleted', await anonymous.POST('/edge/validate', { body: { tokens: [token] } }));
	return steps;
}
