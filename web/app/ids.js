// Names that no other request, message or tab has. No DOM.

/** 128 random bits as text: for Idempotency-Key and client_id. (randomUUID is there in secure contexts only.) */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
