// The same as story.py.
import { readFileSync } from 'node:fs'

export const STORY = JSON.parse(readFileSync(new URL('story.json', import.meta.url)))
export const [URL_, KEY] = process.argv.slice(2)
export const AT = new Date(Number(process.argv[4]) * 1000)
