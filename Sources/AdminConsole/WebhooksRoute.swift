// `GET /api/v1/webhooks`: the webhooks and the newest deliveries. URLs are cut, since their paths are often secret.
import BrokerEngine
import Courier
import PolicyFile
import TextForms

extension AdminConsole {
  func webhooks() -> Reply {
    guard let courier else { return .error(503, "there are no webhooks") }
    let (queue, now) = (courier.queue, broker.now)
    var json = JSONWriter(reserving: 32 << 10)
    json.object { json in
      json.key("webhooks")
      json.array(courier.webhooks) { json, webhook in
        let counts = queue.counts(webhook.url)
        json.object { json in
          json.member("url", webhook.shownURL)
          json.key("events")
          json.array(WebhookEvent.allCases.filter { webhook.events.contains($0) }) { $0.value($1.rawValue) }
          json.member("format", webhook.format.rawValue)
          json.member("pending", queue.waiting(webhook.url))
          json.member("delivered", counts.delivered)
          json.member("failed", counts.failed)
          json.member("dropped", counts.dropped)
        }
      }
      json.key("deliveries")
      json.array(queue.records.reversed()) { json, record in
        json.object { json in
          json.member("id", record.id)
          json.member("event", record.news.event.rawValue)
          json.member("at", RFC3339.text(record.news.at))
          json.member("subject", record.news.subject)
          json.member("state", record.news.state)
          json.member("url", Webhook.shown(record.url))
          json.member("result", record.result.rawValue)
          json.member("attempts", record.attempts)
          json.member("status", record.status)
          // What is due and not sent waits for one before it, or is being sent.
          let next = record.next.flatMap { $0 > now ? $0 : nil }
          json.member("next_at", next.map { RFC3339.text(broker.wallNanoseconds(at: $0)) })
          json.member("error", record.error)
        }
      }
    }
    return .json(json.bytes)
  }
}
