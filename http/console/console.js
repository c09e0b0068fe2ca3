// Who is signed in, and which view is shown?  The key is nowhere but in api.js: no cookie, no storage, no address.

import { begin, end, getChoices, isOpen, onEnd } from './api.js';
import { closeDialogs } from './dialogs.js';
import { field, h, problem } from './dom.js';
import { eventsView } from './events.js';
import { healthView } from './health.js';
import { nameOf } from './text.js';
import { tokensView } from './tokens.js';

// Who went away leaves no open door.
const IDLE_MS = 30 * 60 * 1000;

const header = document.getElementById('header');
const main = document.getElementById('main');

// ---- Signing in -----------------------------------------------------------------------------------------------------

function showSignIn(reason) {
	header.hidden = true;
	header.replaceChildren();
	const key = h('input', { type: 'password', autocomplete: 'off', spellcheck: false, required: true, 'data-1p-ignore': true, 'data-lpignore': 'true' });
	const place = h('div', reason ? problem(new Error(reason)) : '');
	const button = h('button.primary', { type: 'submit' }, 'Sign in');
	main.replaceChildren(h('form.card', {
		noValidate: true,
		onsubmit: async (event) => {
			event.preventDefault();
			const text = key.value.trim();
			if (text === '') {
				place.replaceChildren(problem(Object.assign(new Error('The key is missing.'), { detail: 'Paste the secret of a token of type admin.' })));
				key.focus();
				return;
			}
			button.disabled = true;
			begin(text);
			key.value = '';
			try {
				showConsole(await getChoices());
			} catch (error) {
				// a key that was refused has ended the session, and said so
				if (isOpen()) {
					end();
					main.querySelector('.card > div:not(.field)').replaceChildren(problem(error));
				}
			}
		},
	}, h('h1', 'API tokens'), h('p', 'Sign in with the secret of an admin token.'), place, field('Admin key', key), button,
	h('p.help', 'It stays in the memory of this page: closing or reloading the page forgets it, and so do 30 idle minutes. It is in no cookie, no storage and no address.')));
	key.focus();
}

onEnd((reason) => {
	clearTimeout(idle);
	closeDialogs();
	showSignIn(reason);
});

let idle;

function stayOpen() {
	clearTimeout(idle);
	if (isOpen()) idle = setTimeout(() => end('You were signed out after 30 idle minutes.'), IDLE_MS);
}

for (const name of ['keydown', 'pointerdown', 'focusin']) addEventListener(name, stayOpen, { passive: true });
// a page that is kept for the button "back" would keep the key, and what it shows
addEventListener('pagehide', () => { if (isOpen()) end(); });

// ---- The views ------------------------------------------------------------------------------------------------------

function showConsole(choices) {
	const views = [['Tokens', () => tokensView(choices)], ...(choices.manages === null ? [['Events', eventsView], ['Health', healthView]] : [])];
	const links = views.map(([label, make]) => h('button.tab', { type: 'button', onclick: () => open(label, make) }, label));

	function open(label, make) {
		links.forEach((link, i) => (views[i][0] === label ? link.setAttribute('aria-current', 'page') : link.removeAttribute('aria-current')));
		document.title = `${label} · API tokens`;
		main.replaceChildren(make());
		main.focus();
	}

	header.replaceChildren(h('span.brand', h('img', { src: 'icon.svg', alt: '', width: 24, height: 24 }), 'API tokens'), h('nav', { 'aria-label': 'Views' }, links),
		h('span.who', nameOf(choices.tokenName), choices.manages !== null && h('span.badge.faint', choices.manages.length === 1 ? '1 project' : `${choices.manages.length} projects`)),
		h('button.plain', { type: 'button', onclick: () => end() }, 'Sign out'));
	header.hidden = false;
	stayOpen();
	open(...views[0]);
}

showSignIn();
