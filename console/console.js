/** Signing in and out, and which view is shown. */
import { showOverview } from './overview.js';
import { announce, find, setText, show } from './page.js';
import { ask, Failure, useToken } from './service.js';
import { showUser } from './user.js';

let mayEnd = false;
/** Ends what the current view has started. */
let leave = new AbortController();
/** Ends what is shown of the current user. */
let leaveUser = new AbortController();
let shownUser;

function fail(error) {
  if (error !== undefined && !(error instanceof Failure)) throw error;
  show(find('#problem'), error?.message);
  if (error?.status === 401) signOut();
}

async function signIn(event) {
  event.preventDefault();
  const input = find('#token');
  useToken(input.value.trim());
  try {
    const { body } = await ask('/console/data/caller');
    mayEnd = body.scopes.includes('sessions:end');
    input.value = '';
    setText(find('#account-name'), body.name ?? 'no token');
    find('#sign-in').hidden = true;
    for (const id of ['#views', '#account']) find(id).hidden = false;
    fail(undefined);
    showView('user');
    find('#user-name').focus();
  } catch (error) {
    useToken('');
    show(find('#problem'), error instanceof Failure ? error.message : String(error));
    input.focus();
    input.select();
  }
}

function signOut() {
  useToken('');
  leave.abort();
  leaveUser.abort();
  shownUser = undefined;
  for (const id of ['#views', '#account', '#user', '#overview', '#found']) find(id).hidden = true;
  find('#user-name').value = '';
  for (const id of ['#places', '#events', '#charts', '#callbacks', 'thead', 'tbody'])
    find(id).replaceChildren();
  find('#sign-in').hidden = false;
  find('#token').focus();
}

function showView(name) {
  leave.abort();
  leave = new AbortController();
  for (const view of ['user', 'overview']) find(`#${view}`).hidden = view !== name;
  for (const button of find('#views').children)
    if (button.dataset.view === name) button.setAttribute('aria-current', 'page');
    else button.removeAttribute('aria-current');
  if (name === 'overview') showOverview({ signal: leave.signal, fail });
}

function findUser(event) {
  event.preventDefault();
  leaveUser.abort();
  leaveUser = new AbortController();
  fail(undefined);
  find('#found').hidden = false;
  const user = find('#user-name').value.trim();
  shownUser = showUser(user, { mayEnd, signal: leaveUser.signal, fail });
  announce(`Showing ${user}.`);
  find('#user-title').focus();
}

find('#sign-in').addEventListener('submit', (event) => void signIn(event));
find('#sign-out').addEventListener('click', () => {
  fail(undefined);
  signOut();
});
find('#find').addEventListener('submit', findUser);
find('#end-all').addEventListener('click', () => shownUser?.endAll());
for (const button of find('#views').children)
  button.addEventListener('click', () => showView(button.dataset.view));
