// Only conveniences: without scripts every page and every action works as well.

// A search whose results appear as one types.
for (const form of document.querySelectorAll("form[data-as-you-type]")) {
  const results = document.getElementById(form.dataset.asYouType);
  let latest = 0;
  let timer;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const number = ++latest;
      const address = `${location.pathname}?${new URLSearchParams(new FormData(form))}`;
      const response = await fetch(address).catch(() => null);
      if (!response || response.redirected || number !== latest) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const found = page.getElementById(results.id);
      if (found) results.replaceChildren(...found.childNodes);
      history.replaceState(null, "", address);
    }, 150);
  });
}

// A click sends a form once. A page that the browser shows again can send its form again.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  else event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// The zone of this computer, offered as a choice.
for (const offer of document.querySelectorAll("[data-own-zone]")) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const select = offer.closest("form").elements.zone;
  const button = offer.querySelector("button");
  if (![...select.options].some((option) => option.value === zone)) continue;
  button.textContent = zone;
  button.addEventListener("click", () => (select.value = zone));
  offer.hidden = false;
}
