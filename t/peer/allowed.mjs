// What may be different between the answers of Unleash 8.2.0 and ours, one entry for each way in which it shows.
// key: the row of doc/differences.md.  at: where ("step | part").  unleash, ours: the values there, 'absent' for none.
// An entry that nothing needs any more fails the test.

export const ALLOWED = [
	{ key: 'location', at: /^create.* \| headers\.location$/, unleash: 'api-tokens', ours: /^\/api\/admin\/api-tokens\/\w{22}$/ },
	{ key: 'no-store', at: /\| headers\.cache-control$/, unleash: 'absent', ours: 'no-store' },
	{ key: 'www-authenticate', at: /^(no|bad) key \| headers\.www-authenticate$/, unleash: 'absent', ours: 'Bearer' },
	{ key: 'empty-content-type', at: /^(update|update unknown|delete|delete again) \| headers\.content-type$/, unleash: 'absent', ours: 'text/plain' },
	{ key: 'all-keys', at: /\| body(\.tokens\[[^\]]*\])?\.(expiresAt|seenAt|alias)$/, unleash: 'absent', ours: null },
	{ key: 'secret-once', at: /\| body\.tokens\[[^\]]*\]\.secret$/, unleash: /\.<key>$/, ours: '<selector>' },
	{ key: 'secret-once', at: /\| body(\.tokens\[[^\]]*\])?\.secure$/, unleash: false, ours: true },
	{ key: 'type-as-made', at: /\| body\.tokens\[<run> scoped\]\.type$/, unleash: 'client', ours: 'backend' },
	{ key: 'edge-type', at: /^validate \| body\.tokens\[.*\]\.type$/, unleash: 'backend', ours: 'client' },
	{ key: 'seen-at', at: /\| body\.tokens\[<run> scoped\]\.seenAt$/, unleash: /^20.*Z$/, ours: null },
	{ key: 'project', at: /^create one project \| body\.(projects|project)$/, unleash: '*', ours: 'alpha' },
	{ key: 'project', at: /^list \| body\.tokens\[<run> one\]\.(projects|project)$/, unleash: '*', ours: 'alpha' },
	{ key: 'project', at: /^create one project \| body\.secret$/, unleash: '*:development.<key>', ours: 'alpha:development.<key>' },
	{ key: 'duplicates', at: /^create twice \| status$/, unleash: 500, ours: 201 },
	{ key: 'duplicates', at: /^create twice \| (body|headers)\./ },
	{ key: 'duplicates', at: /^list \| body\.tokens\[<run> twice\]/, unleash: 'absent' },
	{ key: 'admin', at: /^create admin \| status$/, unleash: 400, ours: 201 },
	{ key: 'admin', at: /^create admin \| (body|headers)\./ },
	{ key: 'admin', at: /^list \| body\.tokens\[<run> admin\]/, unleash: 'absent' },
	{ key: 'admin', at: /^list \| body\.tokens\.length$/, unleash: 6, ours: 8 },
	{ key: 'error-bodies', at: /^(unknown|empty|all env|no projects|bad expiry|no key|bad key|update to).* \| body\.(message|details\.\d\.(message|path))$/ },
	{ key: 'error-bodies', at: /\| body\.id$/, unleash: 'absent', ours: '<uuid>' },
	{ key: 'error-bodies', at: /^no key \| body\.(path|type|defaultHidden)$/, ours: 'absent' },
	{ key: 'error-bodies', at: /^key of another type \| body\.(name|details\.0\.message)$/, unleash: 'absent' },
	{ key: 'error-bodies', at: /^key of another type \| body\.message$/ },
	{ key: 'unknown-project', at: /^unknown project \| (status|body\.name)$/, unleash: /^(500|UnknownError)$/, ours: /^(400|BadDataError)$/ },
	{ key: 'at-once', at: /^validate deleted \| body\.tokens\.length$/, unleash: 1, ours: 0 },
	{ key: 'at-once', at: /^validate deleted \| body\.tokens\[/, ours: 'absent' },
];
