// The turning of a loop until a condition holds.
import EventLoop

/// Turns the loop until `isDone`. The alarm ends a turn whose timers were already due at its start: it would wait for ever.
func turn(_ loop: EventLoop, until isDone: () -> Bool) {
  let alarm = LoopTimer(loop) {}
  while !isDone() {
    alarm.schedule(after: .milliseconds(20))
    loop.turn(waiting: true)
  }
}
