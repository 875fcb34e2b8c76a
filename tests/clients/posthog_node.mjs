import { randomUUID } from 'node:crypto'
import { PostHog } from 'posthog-node'
import { AT, KEY, STORY, URL_ } from './story.mjs'

const client = new PostHog(KEY, { host: URL_ })
client.on('error', (error) => { console.error(error); process.exitCode = 1 })
const timestamp = AT
const distinctId = '42'
const uuid = randomUUID()
const { url, referrer, title } = STORY.page
client.capture({ distinctId: 'v-1', event: '$pageview', properties: { $current_url: url, $referrer: referrer, title, $process_person_profile: false }, timestamp })
client.alias({ distinctId: 'v-1', alias: '42' })
client.identify({ distinctId, properties: STORY.traits })
client.capture({ distinctId, event: 'Order Completed', properties: STORY.order, timestamp, uuid })
client.capture({ distinctId, event: 'Product Reviewed', properties: STORY.review, timestamp })
client.capture({ distinctId, event: 'Wish List Shared', properties: STORY.wish, timestamp })
client.capture({ distinctId, event: 'Order Completed', properties: STORY.order_without_currency, timestamp })
await client.shutdown()
console.log(JSON.stringify({ order: uuid }))
