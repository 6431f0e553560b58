// Passkeys: a form with data-passkey is sent with what the authenticator answers to the options in it.
"use strict";

const decoded = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
const encoded = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const descriptors = (found) => (found ?? []).map((one) => ({ ...one, id: decoded(one.id) }));

async function created(options) {
  const publicKey = {
    ...options,
    challenge: decoded(options.challenge),
    user: { ...options.user, id: decoded(options.user.id) },
    excludeCredentials: descriptors(options.excludeCredentials),
  };
  const credential = await navigator.credentials.create({ publicKey });
  return sent(credential, {
    attestationObject: encoded(credential.response.attestationObject),
    transports: credential.response.getTransports?.() ?? [],
  });
}

async function used(options) {
  const publicKey = {
    ...options,
    challenge: decoded(options.challenge),
    allowCredentials: descriptors(options.allowCredentials),
  };
  const credential = await navigator.credentials.get({ publicKey });
  const { authenticatorData, signature, userHandle } = credential.response;
  return sent(credential, {
    authenticatorData: encoded(authenticatorData),
    signature: encoded(signature),
    userHandle: userHandle ? encoded(userHandle) : null,
  });
}

const sent = (credential, response) => ({
  id: credential.id,
  rawId: encoded(credential.rawId),
  type: credential.type,
  response: { clientDataJSON: encoded(credential.response.clientDataJSON), ...response },
});

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const credential = form.querySelector("input[name$=credential]");
  const failure = form.querySelector("[data-failure]");
  if (!window.PublicKeyCredential) continue; // only on https and localhost
  form.hidden = false;
  form.parentElement.querySelector("[data-without-passkeys]")?.remove();
  form.addEventListener("submit", async (event) => {
    if (credential.value) return;
    event.preventDefault();
    failure.hidden = true;
    try {
      const options = JSON.parse(form.dataset.options);
      credential.value = JSON.stringify(await (form.dataset.passkey === "create" ? created : used)(options));
      form.submit();
    } catch {
      failure.hidden = false; // canceled by the user, or there is none
    }
  });
}
