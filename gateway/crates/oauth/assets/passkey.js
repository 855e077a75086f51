// Passkeys: asks the browser for one, and sends its answer with the form that the button stands in.
// Without this script the buttons stay hidden, and everything else of the pages works.
"use strict";

(() => {
  const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const encode = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  const make = async (options) => {
    options.challenge = decode(options.challenge);
    options.user.id = decode(options.user.id);
    options.excludeCredentials = (options.excludeCredentials ?? []).map((known) => ({ ...known, id: decode(known.id) }));
    const made = await navigator.credentials.create({ publicKey: options });
    const { attestationObject, clientDataJSON } = made.response;
    return { made, response: { attestationObject: encode(attestationObject), clientDataJSON: encode(clientDataJSON) } };
  };

  const prove = async (options) => {
    options.challenge = decode(options.challenge);
    options.allowCredentials = [];
    const made = await navigator.credentials.get({ publicKey: options });
    const { authenticatorData, clientDataJSON, signature, userHandle } = made.response;
    const response = { authenticatorData: encode(authenticatorData), clientDataJSON: encode(clientDataJSON), signature: encode(signature) };
    return { made, response: { ...response, userHandle: userHandle ? encode(userHandle) : null } };
  };

  const words = {
    InvalidStateError: "This device has a passkey of yours already. Take another device, or log in with it.",
    NotAllowedError: "Nothing was done: it was cancelled, took too long, or the device could not check who you are.",
    NotSupportedError: "This device can’t make a passkey that is taken here.",
    SecurityError: "Browsers take no passkey at this address. Open the gateway at its public URL.",
  };

  for (const button of document.querySelectorAll("button[data-passkey]")) {
    const form = button.form;
    const block = button.closest("[data-passkey-block]");
    const problem = block.querySelector("[data-passkey-problem]");
    const say = (text) => { problem.textContent = text; problem.hidden = false; };
    block.hidden = false;
    if (!window.PublicKeyCredential) {
      button.disabled = true;
      say("This browser knows no passkeys.");
      continue;
    }
    button.addEventListener("click", async () => {
      const options = JSON.parse(button.dataset.options);
      const who = form.elements[button.dataset.who];
      // Before the device makes something that nothing here would know.
      if (form.elements.code?.reportValidity() === false) return;
      if (who && !who.reportValidity()) return;
      if (who) options.user.name = options.user.displayName = who.value.trim();
      button.disabled = true;
      problem.hidden = true;
      try {
        const { made, response } = await (button.dataset.passkey === "make" ? make(options) : prove(options));
        form.elements.credential.value = JSON.stringify({ id: made.id, rawId: encode(made.rawId), type: made.type, response });
        form.submit();
      } catch (error) {
        say(words[error.name] ?? `The browser says: ${error.message}`);
        button.disabled = false;
      }
    });
  }

  // Back from the page that followed: an answer counts once.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
})();
