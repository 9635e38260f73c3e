// Conversations in this browser's IndexedDB. They leave it only as a question's history; the API key is not among them.

const STORE = "conversations";

const opened = new Promise((resolve, reject) => {
  const request = indexedDB.open("tenet-chat", 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});
opened.catch(() => {}); // said where something is to be kept

async function inStore(mode, work) {
  const database = await opened;
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    const request = work(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

// All of them, the latest first.
export const all = async () => (await inStore("readonly", (store) => store.getAll())).sort((a, b) => b.at - a.at);
export const keep = (conversation) => inStore("readwrite", (store) => store.put(conversation));
export const forget = (id) => inStore("readwrite", (store) => store.delete(id));
export const forgetAll = () => inStore("readwrite", (store) => store.clear());
