// The site's search runs in a worker, which browsers refuse to pages opened from a file.
// There a hidden frame takes its place.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.appendChild(this.frame)
      const inside = this.frame.contentWindow
      this.ready = new Promise(resolve => (inside.onWorkerReady = resolve))
      inside.answer = data => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        if (this.onmessage) this.onmessage(event)
      }
      inside.document.open()
      inside.document.write(`<html><body><script>
        postMessage = data => window.answer(data)
        importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((done, failed) => {
          const script = document.createElement("script")
          Object.assign(script, {src: url, onload: done, onerror: failed})
          document.body.appendChild(script)
        })), Promise.resolve())
      <\/script><script src="${url}" onload="onWorkerReady()"><\/script></body></html>`)
      inside.document.close()
    }
    postMessage(data) {
      this.ready.then(() => {
        this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }))
      })
    }
    terminate() {
      this.frame.remove()
    }
  }
